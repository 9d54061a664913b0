"""The joint ("EM") phase: which labels it may see, and the classifier that guides the VAE for a round.

arXiv 2311.15719, section 3: a VAE; a classifier on its codes; the VAE again with the classifier's
cross-entropy added, the classifier fixed; then another classifier; any number of rounds. Malignancy 3 has no
label: such slices train the VAE and not the classifier.

The released code draws a random 70 % of all patients for it, so labels of patients that later test the
classifier have shaped their codes. `labels_of="training"` does not leak: held-out patients' labels are never
used.

With `head="trained"` the classifier is not fixed: it learns with the VAE, may learn from the readers' mean
malignancy (`soft_labels`) and predict their other ratings and the diameter too (`ratings_weight`), and is the
run's classifier afterwards. It learns from training patients only, and sees only the code of a new lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.labels import reader_mean
from lungvae_core.data.slices import RATINGS
from lungvae_core.data.splits import share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    class_weights,
    fit_classifier,
)
from lungvae_core.training.inputs import inputs_of
from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import OwnBatchNorm1d, normalise
from lungvae_core.vae.objective import label_loss
from lungvae_core.vae.sync import Share

RELEASED_SHARE = 0.7  # of the patients, in the paper's code
HEAD = ClassifierConfig(hidden=(64,), dropout=0.3, weight_decay=1e-2)  # of a trained head


@dataclass(frozen=True)
class Labels:
    """The labels that the joint phase may use."""

    rows: np.ndarray  # rows of the data that it trains on
    labels: np.ndarray  # (N,) float32 over all rows of the data: 0 to 1, or NaN where it may not look
    weights: tuple[float, float]  # of the classes 0 and 1
    # (N, R) float32, standardised, for a head that predicts them; NaN likewise
    ratings: np.ndarray | None = None


def labels_for(config: Config, table: pd.DataFrame, train: np.ndarray) -> Labels:
    """The rows and labels of the joint phase; `train` are the rows that the VAE trains on.

    Raises UserError when the rows lack malignant or benign labels.
    """
    joint, rows = config.joint, train
    if joint.labels_of == "released":
        rows = share_of_patients(table, share=RELEASED_SHARE, seed=config.training.seed)
    labels = np.full(len(table), np.nan, np.float32)
    labels[rows] = labels_by(table, joint.task, joint.label_rule)[rows]
    if not ((labels == 1).any() and (labels == 0).any()):
        raise UserError(
            "The joint phase needs labels of both classes (malignancy above 3 and below 3) among the "
            "training patients. Leave it out with rounds=0, or train on data with labels."
        )
    weights = class_weights(labels) if joint.class_balanced else (1.0, 1.0)
    if joint.soft_labels:
        labels[rows] = ((reader_mean(table, "malignancy") - 1) / 4)[rows]
    ratings = _ratings(table, rows) if joint.ratings_weight else None
    return Labels(rows, labels, weights, ratings)


def _ratings(table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    """(N, R) the readers' mean ratings but malignancy and the log diameter, standardised over `rows`."""
    names = [name for name in RATINGS if name not in ("malignancy", "internalStructure")]
    columns = [reader_mean(table, name) for name in names if f"{name}_all" in table]
    if "diameter_mm" in table:
        columns.append(np.log(table["diameter_mm"].to_numpy(dtype=float, na_value=np.nan)))
    if not columns:
        raise UserError(
            "ratings_weight needs the readers' ratings (columns as texture_all) or diameter_mm in the data; "
            "set ratings_weight=0 to train without."
        )
    scores = np.full((len(table), len(columns)), np.nan, np.float32)
    trained = np.stack(columns, axis=1)[rows]
    deviation = np.nanstd(trained, axis=0)
    scores[rows] = (trained - np.nanmean(trained, axis=0)) / np.where(deviation > 0, deviation, 1)
    return scores


class Head(nn.Module):
    """A classifier that learns with the VAE, and predicts the readers' ratings from the same features."""

    def __init__(self, classifier: Classifier, ratings: int) -> None:
        super().__init__()
        self.classifier = classifier
        for module in classifier.modules():
            if isinstance(module, OwnBatchNorm1d):
                module.shared = True  # unlike a fixed guide, it learns from its process's share of a batch
        self.ratings = nn.Linear(classifier.config.hidden[-1], ratings) if ratings else None

    def forward(self, codes: Tensor, share: Share | None = None) -> tuple[Tensor, Tensor | None]:
        """(logits (B,), ratings (B, R) or None) of codes (B, K), which are `share` of the global batch."""
        hidden = self.classifier.hidden(codes)
        if self.training:
            # Drawn for the global batch, as all random numbers of a step, so that sharing it changes nothing.
            start, stop, total = share or Share(0, len(hidden), len(hidden))
            kept = torch.rand(total, hidden.shape[1], device=hidden.device)[start:stop] >= HEAD.dropout
            hidden = hidden * kept / (1 - HEAD.dropout)
        predicted = None if self.ratings is None else self.ratings(hidden)
        return self.classifier.body[-1](hidden)[:, 0], predicted


@torch.no_grad()
def begin_head(vae: VAE, hu: Tensor, labels: Labels, config: Config, *, round_: int) -> Head:
    """A round's head, not yet trained, its inputs standardised by the codes of the rows it may learn from."""
    head = _empty_head(config, 0 if labels.ratings is None else labels.ratings.shape[1], round_)
    head.classifier.standardise(_codes(vae, hu, labels.rows))
    return head.to(hu.device)


def _empty_head(config: Config, ratings: int, round_: int) -> Head:
    seed = config.training.seed + 1000 * (round_ + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = HEAD.model_copy(update={"seed": seed})
        return Head(Classifier(config.model.dimensions, settings, inputs_of(config)), ratings)


def _codes(vae: VAE, hu: Tensor, rows: np.ndarray) -> Tensor:
    vae.eval()
    parts = torch.as_tensor(rows, device=hu.device).split(256)
    return torch.cat(
        [vae.latent.code(vae.posterior(normalise(hu[part], vae.config)[:, None])).cpu() for part in parts]
    )


@torch.no_grad()
def fit_guide(vae: VAE, hu: Tensor, labels: Labels, config: Config, *, round_: int) -> Classifier:
    """The round's classifier on the codes of the labelled slices of hu (N, 64, 64), fixed and on hu's device.

    The same weights, labels and round give the same classifier.
    """
    labelled = np.flatnonzero(~np.isnan(labels.labels))
    codes = _codes(vae, hu, labelled)
    settings = ClassifierConfig(
        class_balanced=config.joint.class_balanced, seed=config.training.seed + 1000 * (round_ + 1)
    )
    with torch.enable_grad():
        guide = fit_classifier(codes.numpy(), labels.labels[labelled], settings, inputs_of(config))
    return _fixed(guide, hu.device)


def begin_guide(vae: VAE, hu: Tensor, labels: Labels, config: Config, *, round_: int) -> Classifier | Head:
    """A round's head or fixed classifier, as the configuration says."""
    begin = begin_head if config.joint.head == "trained" else fit_guide
    return begin(vae, hu, labels, config, round_=round_)


def empty_guide(config: Config, tensors: dict[str, Tensor], device: torch.device) -> Classifier | Head:
    """A round's head or fixed classifier, with the shapes of its saved tensors but not their values."""
    if config.joint.head == "trained":
        return _empty_head(config, len(tensors.get("ratings.bias", ())), 0).to(device)
    return _fixed(Classifier(config.model.dimensions, ClassifierConfig(), inputs_of(config)), device)


def guidance(
    guide: nn.Module,
    codes: Tensor,
    labels: Tensor,
    weights: tuple[float, float],
    config: Config,
    *,
    ratings: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """The loss of a batch of codes (B, K) with labels (B,), and for a head with ratings (B, R)."""
    fixed = config.joint.head == "fixed"
    logits, predicted = (guide(codes), None) if fixed else guide(codes, share)
    loss = config.joint.label_weight * label_loss(logits, labels, weights)
    if predicted is not None and ratings is not None:
        rated = ~torch.isnan(ratings)
        deviation = torch.where(rated, predicted - torch.where(rated, ratings, 0.0), 0.0)
        loss = loss + config.joint.ratings_weight * deviation.square().mean()
    return loss


def _fixed(guide: Classifier, device: torch.device) -> Classifier:
    return guide.to(device).eval().requires_grad_(False)
