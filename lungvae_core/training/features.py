"""Features of a small supervised network, for comparing a reconstruction with its slice.

The network (`training.cnn`) learns once, before the VAE begins, to tell malignant from benign slices of the
training patients; no label of a held-out patient reaches it. Its weights are then fixed and stored in the
run, so that a resumed training uses the same ones. `vae.objective` has the loss.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lungvae_core.data.labels import labels
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import FEATURES, Run
from lungvae_core.training.cnn import Cnn, CnnConfig, Watch, fit_cnn
from lungvae_core.training.weights_file import load_network, save_tensors
from lungvae_core.vae.config import ModelConfig

_WIDTH = 8  # every step of the VAE's training runs it three times


class Features(nn.Module):
    """Images (N, 1, 64, 64) in 0..1 of the window to the network's features at four scales.

    (N, w/2, 32, 32), (N, 2w, 16, 16), (N, 4w, 8, 8) and (N, 4w, 4, 4) of a network of width w.
    """

    def __init__(self, network: Cnn) -> None:
        super().__init__()
        self.body = network.encoder.body.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        scales = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.SiLU):
                scales.append(x)
        return scales


def labels_for_features(table: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """(M,) labels of the rows `train` (M,), NaN where unknown; UserError unless there are both."""
    truth = labels(table.iloc[train])
    if not {0.0, 1.0} <= set(truth.tolist()):
        raise UserError(
            "The feature loss needs malignant and benign slices of training patients, from which its network "
            "learns. Give the data the column malignancy, or set feature to 0."
        )
    return truth


def fit_features(run: Run, hu: np.ndarray, truth: np.ndarray, watch: Watch) -> None:
    """Fit the network on slices hu (M, 64, 64) in HU with labels (M,), NaN where unknown, and store it."""
    has, config = ~np.isnan(truth), run.config
    network = fit_cnn(hu[has], truth[has], seed=config.training.seed, config=_of(config.model), watch=watch)
    save_tensors(run.folder / FEATURES, network.state_dict(), {})


def load_features(run: Run, device: torch.device) -> Features:
    """The run's stored features; UserError if they are missing or damaged."""
    network = load_network(run.folder / FEATURES, lambda _: Cnn(_of(run.config.model)))
    return Features(network).to(device)


def _of(model: ModelConfig) -> CnnConfig:
    return CnnConfig(width=_WIDTH, hu_low=model.hu_low, hu_high=model.hu_high)
