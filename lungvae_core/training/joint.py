"""The joint ("EM") phase: which labels it may see, and the classifier that guides the VAE for a round.

arXiv 2311.15719, section 3: a VAE; a classifier on its codes; the VAE again with the classifier's
cross-entropy added, the classifier fixed; then another classifier; any number of rounds. Malignancy 3 has no
label: such slices train the VAE and not the classifier.

The released code draws a random 70 % of all patients for it, so labels of patients that later test the
classifier have shaped their codes. `labels_of="training"` is the honest variant: held-out patients' labels
are never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lungvae_core.data.slices import malignant
from lungvae_core.data.splits import share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.training.classifier import Classifier, ClassifierConfig, class_weights, fit_classifier
from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from lungvae_core.vae.objective import label_loss

RELEASED_SHARE = 0.7  # of the patients, in the paper's code


@dataclass(frozen=True)
class Labels:
    """What the joint phase may see."""

    rows: np.ndarray  # rows of the data that it trains on
    labels: np.ndarray  # (N,) float32 over all rows of the data: 0, 1, or NaN where it may not look
    weights: tuple[float, float]  # of the classes 0 and 1


def labels_for(config: Config, table: pd.DataFrame, train: np.ndarray) -> Labels:
    """The rows and labels of the joint phase; `train` are the rows that the VAE trains on.

    Raises UserError when the rows lack malignant or benign labels.
    """
    rows = train
    if config.joint.labels_of == "released":
        rows = share_of_patients(table, share=RELEASED_SHARE, seed=config.training.seed)
    labels = np.full(len(table), np.nan, np.float32)
    labels[rows] = malignant(table)[rows]
    if not ((labels == 1).any() and (labels == 0).any()):
        raise UserError(
            "The joint phase needs labels of both classes (malignancy above 3 and below 3) among the "
            "training patients. Leave it out with rounds=0, or train on data with labels."
        )
    weights = class_weights(labels) if config.joint.class_balanced else (1.0, 1.0)
    return Labels(rows, labels, weights)


@torch.no_grad()
def fit_guide(vae: VAE, hu: Tensor, labels: Labels, config: Config, *, round_: int) -> Classifier:
    """The round's classifier on the codes of the labelled slices of hu (N, 64, 64), fixed and on hu's device.

    The same weights, labels and round give the same classifier.
    """
    vae.eval()
    known = np.flatnonzero(~np.isnan(labels.labels))
    parts = torch.as_tensor(known, device=hu.device).split(256)
    codes = [vae.latent.code(vae.posterior(normalise(hu[rows], vae.config)[:, None])) for rows in parts]
    settings = ClassifierConfig(
        class_balanced=config.joint.class_balanced, seed=config.training.seed + 1000 * (round_ + 1)
    )
    with torch.enable_grad():
        guide = fit_classifier(
            torch.cat(codes).cpu().numpy(), labels.labels[known], settings, simplex=_simplex(config)
        )
    return _fixed(guide, hu.device)


def restored_guide(config: Config, tensors: dict[str, Tensor], device: torch.device) -> Classifier:
    """A guide from its saved tensors."""
    guide = Classifier(config.model.dimensions, ClassifierConfig(), simplex=_simplex(config))
    guide.load_state_dict(tensors)
    return _fixed(guide, device)


def guidance(
    guide: nn.Module, codes: Tensor, labels: Tensor, weights: tuple[float, float], config: Config
) -> Tensor:
    """What a batch of codes (B, K) with labels (B,) adds to the loss."""
    return config.joint.label_weight * label_loss(guide(codes), labels, weights)


def _fixed(guide: Classifier, device: torch.device) -> Classifier:
    return guide.to(device).eval().requires_grad_(False)


def _simplex(config: Config) -> bool:
    return config.model.prior == "dirichlet"
