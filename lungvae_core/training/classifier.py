"""An MLP on codes: malignant (rating above 3) against benign (below 3).

Blocks are Linear, GELU, BatchNorm, Dropout as in the paper (arXiv 2311.15719, section 3), but smaller, with
standardised inputs; `lungvae_core.training.inputs` says which numbers of a code these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.inputs import Inputs, ReadsCodes
from lungvae_core.training.weights_file import load_network, save_tensors
from lungvae_core.vae.networks import OwnBatchNorm1d
from lungvae_core.vae.objective import label_loss


class ClassifierConfig(BaseModel):
    """The MLP and its training; each setting is described here alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[Annotated[int, Field(ge=1, le=16_384)], ...] = Field(
        default=(128, 64), max_length=16, title="Hidden layers", description="Units of each, first to last."
    )
    dropout: float = Field(
        default=0.5, ge=0, lt=1, title="Dropout (share)", description="Of a layer's units, in every step."
    )
    epochs: int = Field(default=30, ge=1, title="Epochs", description="How often every code is seen.")
    batch_size: int = Field(
        default=128, ge=1, title="Batch size (slices)", description="Codes of slices a step."
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, title="Learning rate", description="The highest of its one cycle."
    )
    weight_decay: float = Field(
        default=1e-2, ge=0, title="Weight decay", description="Pull of the weights towards 0."
    )
    class_balanced: bool = Field(
        default=False,
        title="Balance the classes",
        description="Both classes weigh alike, however many slices they have.",
    )
    seed: int = Field(default=0, title="Seed", description="Of the starting weights and the batches.")


class Classifier(ReadsCodes):
    """Codes (N, K) to logits (N,); the standardisation is part of it."""

    settings = ClassifierConfig
    config: ClassifierConfig

    def __init__(self, dimensions: int, config: ClassifierConfig, inputs: Inputs) -> None:
        super().__init__(dimensions, config, inputs)
        size = self.count
        layers: list[nn.Module] = []
        for into in config.hidden:
            layers += [nn.Linear(size, into), nn.GELU(), OwnBatchNorm1d(into), nn.Dropout(config.dropout)]
            size = into
        self.body = nn.Sequential(*layers, nn.Linear(size, 1))

    def hidden(self, codes: Tensor) -> Tensor:
        """(N, last of `hidden`) the input of the last layer, before dropout."""
        return self.body[:-2](self.features(codes))

    def forward(self, codes: Tensor) -> Tensor:
        return self.body(self.features(codes))[:, 0]

    @torch.inference_mode()
    def logits(self, codes: np.ndarray) -> np.ndarray:
        """(N,) float32 logits of codes (N, K); fitted and loaded classifiers are in evaluation mode."""
        assert not self.training
        return self(torch.tensor(np.asarray(codes), dtype=torch.float32)).numpy()


def fit_classifier(
    codes: np.ndarray, labels: np.ndarray, config: ClassifierConfig, inputs: Inputs
) -> Classifier:
    """Train on codes (N, K) with labels (N,) of 0 and 1; the same seed gives the same classifier.

    The caller's random state is left as it was. Raises UserError when only one class is there.
    """
    labels = np.asarray(labels, np.float32)
    if len(labels) < 2 or labels.min() == labels.max():
        raise UserError(
            "A classifier needs both malignant (above 3) and benign (below 3) slices to learn from."
        )
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(config.seed)
        model = Classifier(codes.shape[1], config, inputs)
        read, target = torch.tensor(codes, dtype=torch.float32), torch.tensor(labels)
        model.standardise(read)
        step = one_cycle(model, config, len(read))
        weights = class_weights(labels) if config.class_balanced else (1.0, 1.0)
        model.train()
        for _ in range(config.epochs):
            for rows in torch.randperm(len(read)).split(config.batch_size):
                step(label_loss(model(read[rows]), target[rows], weights))
    return model.eval()


def one_cycle(model: nn.Module, config: Any, count: int) -> Callable[[Tensor], None]:
    """A function that takes a step down a loss, in one cycle of the learning rate.

    `config` has the learning rate, the weight decay, and how many epochs of batches of the `count` examples
    there will be.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    batches = -(-count // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate * 3, total_steps=config.epochs * batches
    )

    def step(loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()

    return step


def over_views(model: Classifier, codes: np.ndarray) -> np.ndarray:
    """(N,) float64 logits of codes (N, V, K), averaged over the views."""
    flat = model.logits(codes.reshape(-1, codes.shape[2])).astype(np.float64)
    return flat.reshape(len(codes), -1).mean(1)


def class_weights(labels: np.ndarray) -> tuple[float, float]:
    """Weights of the classes 0 and 1 that balance them in labels (N,); NaN is ignored."""
    positive, negative = float(np.sum(labels == 1)), float(np.sum(labels == 0))
    half = (positive + negative) / 2
    return half / max(negative, 1.0), half / max(positive, 1.0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: for so small a network, another core costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def save_classifier(run: Run, model: Classifier) -> None:
    """Write classifier.safetensors into the run."""
    save_tensors(run.folder / "classifier.safetensors", model.state_dict(), model.state)


def load_classifier(run: Run) -> Classifier | None:
    """The run's classifier, or None when it has none; UserError when damaged."""
    if not run.has("classifier.safetensors"):
        return None
    return load_network(run.folder / "classifier.safetensors", partial(Classifier.empty, run))
