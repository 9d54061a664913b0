"""The trainings that peers.py compares, all on the same slices and stopped by the same watch.

Every training gets `Slices` and a `Watch`, calls `Watch.step` after each step until the time is up, and
returns its network and batch size.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.data import DataLoader, TensorDataset

from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from lungvae_core.vae.objective import ssim

OURS = preset("gvae")
WINDOW = OURS.model.hu_low, OURS.model.hu_high  # what all contestants see as 0 to 1
JUDGED = (-500.0, 400.0)  # HU
DIMENSIONS = 64  # of all but our preset as it is
RATE = OURS.training.learning_rate
FOREVER = 1_000_000  # epochs: the watch ends a training


@dataclass(frozen=True)
class Slices:
    """The data of all contestants: rows of `data` to train on, and held-out rows."""

    data: SliceSet
    train: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, folder: str, patients: int) -> Slices:
        """Split by patient with seed 0, as presets do; of so many random patients, 0 for all."""
        data = SliceSet.open(folder, verify=False)
        names = data.table["patient_id"].astype(str)
        rows = np.arange(len(names))
        if patients:
            chosen = np.random.default_rng(0).permutation(np.unique(names))[:patients]
            rows = np.flatnonzero(names.isin(set(chosen)))
        table = data.table.iloc[rows].reset_index(drop=True)
        train, held_out = holdout(table, fraction=OURS.training.validation_fraction, seed=0)
        return cls(data, rows[train], rows[held_out])

    def images(self, rows: np.ndarray) -> Tensor:
        """(N, 1, 64, 64) float32, 0..1 in WINDOW."""
        return normalise(torch.tensor(self.data.slices[rows]), OURS.model)[:, None]


class Look(NamedTuple):
    """The mean SSIM of held-out slices after so much training."""

    seconds: float
    ssim: float  # in JUDGED
    ssim_wide: float  # in WINDOW


@dataclass
class Watch:
    """The time of a training without that of its looks at held-out slices."""

    limit: float  # s
    images: Tensor  # (N, 1, 64, 64), held out
    pause: float = 5.0  # s, at least, between looks
    began: float = field(default_factory=time.perf_counter)
    looking: float = 0.0  # s
    steps: int = 0
    looks: list[Look] = field(default_factory=list)

    def step(self, network: nn.Module, reconstruct: Callable[[Tensor], Tensor]) -> bool:
        """Count a step and look at the held-out slices if a look is due; return whether the time is up.

        `reconstruct` redraws images (N, 1, 64, 64) in 0..1 from the means of their posteriors.
        """
        self.steps += 1
        now = time.perf_counter() - self.began - self.looking
        last = self.looks[-1].seconds if self.looks else 0.0
        if now >= min(max(last + self.pause, 1.05 * last), self.limit):
            began = time.perf_counter()
            network.eval()
            self.looks.append(Look(now, *self.scores(reconstruct)))
            network.train()
            self.looking += time.perf_counter() - began
        return now >= self.limit

    @torch.inference_mode()
    def scores(self, reconstruct: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """The mean SSIM of the held-out slices' reconstructions, in JUDGED and in WINDOW."""
        pairs = [(x, reconstruct(x).float()) for x in self.images.split(64)]
        narrow = torch.cat([ssim(judged(x), judged(y), reduce=False) for x, y in pairs])
        return float(narrow.mean()), float(torch.cat([ssim(x, y, reduce=False) for x, y in pairs]).mean())

    def seconds_to(self, goal: float) -> float | None:
        """The time of the first look with an SSIM in JUDGED of at least `goal`."""
        return next((look.seconds for look in self.looks if look.ssim >= goal), None)


def judged(images: Tensor) -> Tensor:
    """Images, 0..1 in WINDOW, as 0..1 in JUDGED."""
    hu = images * (WINDOW[1] - WINDOW[0]) + WINDOW[0]
    return ((hu - JUDGED[0]) / (JUDGED[1] - JUDGED[0])).clamp(0, 1)


def train_lungvae(slices: Slices, watch: Watch, *, name: str, **changes: Any) -> tuple[nn.Module, int]:
    """Train a preset of ours through `fit`, in the window of all."""
    config = override(preset(name), {"hu_low": WINDOW[0], "hu_high": WINDOW[1], "seed": 0, **changes})
    networks: list[VAE] = []
    # `fit` returns its network at the end; until then only a forward pass shows it.
    hook = register_module_forward_hook(
        lambda module, *_: networks.append(module) if isinstance(module, VAE) else None
    )

    def is_up() -> bool:  # called before every step
        if not networks:
            return False
        hook.remove()
        vae = networks[0]
        return watch.step(vae, lambda x: vae.reconstruct(vae.latent.code(vae.posterior(x))))

    with tempfile.TemporaryDirectory() as folder:
        split = slices.train, slices.held_out
        fit(config, slices.data, Path(folder) / "run", device="cpu", split=split, should_stop=is_up)
    return networks[0], config.training.batch_size


class TimeIsUp(Exception):
    """Ends a training that cannot be asked to stop."""


def train_pythae(
    slices: Slices, watch: Watch, *, network: str, learning_rate: float
) -> tuple[nn.Module, int]:
    """Train pythae's VAE through its pipeline, with its dense, Conv or ResNet network."""
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks import celeba
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    dense = network == "dense"
    channels, batch_size = (1, 200) if dense else (3, 100)
    config = VAEConfig(input_dim=(channels, 64, 64), latent_dim=DIMENSIONS)
    networks, settings = {}, {}
    if dense:  # by default; the settings are the README's
        settings = {
            "optimizer_cls": "AdamW",
            "optimizer_params": {"weight_decay": 0.05, "betas": (0.91, 0.995)},
            "scheduler_cls": "ReduceLROnPlateau",
            "scheduler_params": {"patience": 5, "factor": 0.5},
        }
    else:
        networks = {
            "encoder": getattr(celeba, f"Encoder_{network}_VAE_CELEBA")(config),
            "decoder": getattr(celeba, f"Decoder_{network}_AE_CELEBA")(config),
        }
    vae = VAE(config, **networks)

    class Images(BaseDataset):
        """Slices with the network's number of channels."""

        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=self.data[index].expand(channels, -1, -1), labels=self.labels[index])

    class Step(TrainingCallback):
        """Watch every step."""

        def on_train_step_end(self, training_config: Any, **_: Any) -> None:
            if watch.step(vae, reconstruct):
                raise TimeIsUp

    def reconstruct(x: Tensor) -> Tensor:
        code = vae.encoder(x.expand(-1, channels, -1, -1)).embedding
        return vae.decoder(code).reconstruction.mean(1, keepdim=True)

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(TimeIsUp):
        training = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=FOREVER,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            no_cuda=True,
            **settings,
        )
        parts = (slices.images(rows) for rows in (slices.train, slices.held_out))
        train, held_out = (Images(images, torch.ones(len(images))) for images in parts)
        TrainingPipeline(vae, training)(train, held_out, callbacks=[Step()])
    return vae, batch_size


def train_monai(slices: Slices, watch: Watch, *, learning_rate: float, beta: float) -> tuple[nn.Module, int]:
    """Train MONAI's VarAutoEncoder by Adam: summed binary cross-entropy, and beta times the KL."""
    from monai.networks.nets import VarAutoEncoder

    torch.manual_seed(0)
    vae = VarAutoEncoder(
        spatial_dims=2,
        in_shape=(1, 64, 64),
        out_channels=1,
        latent_size=DIMENSIONS,
        channels=(16, 32, 64),
        strides=(1, 2, 2),
    )
    optimiser = torch.optim.Adam(vae.parameters(), learning_rate)
    batch_size = 64
    loader = DataLoader(TensorDataset(slices.images(slices.train)), batch_size=batch_size, shuffle=True)
    while True:
        for (x,) in loader:
            optimiser.zero_grad()
            y, mean, log_variance, _ = vae(x)
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
            (F.binary_cross_entropy(y, x, reduction="sum") + beta * kl).backward()
            optimiser.step()
            if watch.step(vae, lambda x: vae.decode_forward(vae.encode_forward(x)[0])):
                return vae, batch_size


@dataclass(frozen=True)
class Contestant:
    """A row: what trains, and its settings."""

    train: Callable[..., tuple[nn.Module, int]]
    settings: dict[str, Any]  # with a learning_rate
    module: str = ""  # of another package, which it needs


def both_rates(name: str, rate: float, train: Callable, settings: dict, module: str = "") -> dict:
    """Two rows, one with a contestant's own learning rate and one with ours."""
    return {
        f"{name}-{whose}-rate": Contestant(train, {**settings, "learning_rate": value}, module)
        for whose, value in (("its", rate), ("our", RATE))
    }


GVAE = {"name": "gvae", "learning_rate": RATE}
PAPER = {"name": "paper-gvae", "width": 32, "dimensions": DIMENSIONS, "precision": "float32"}
PYTHAE, MONAI = "pythae.pipelines", "monai.networks.nets"

CONTESTANTS: dict[str, Contestant] = {
    f"gvae-{DIMENSIONS}": Contestant(train_lungvae, {**GVAE, "dimensions": DIMENSIONS}),
    f"gvae-{OURS.model.dimensions}": Contestant(train_lungvae, GVAE),
    **both_rates("pythae-dense", 1e-3, train_pythae, {"network": "dense"}, PYTHAE),
    **both_rates("pythae-conv", 1e-4, train_pythae, {"network": "Conv"}, PYTHAE),
    **both_rates("pythae-resnet", 1e-4, train_pythae, {"network": "ResNet"}, PYTHAE),
    **both_rates("monai", 1e-4, train_monai, {"beta": 100}, MONAI),
    "monai-our-rate-beta-1": Contestant(train_monai, {"beta": 1, "learning_rate": RATE}, MONAI),
    **both_rates("paper", preset("paper-gvae").training.learning_rate, train_lungvae, PAPER),
}
