"""What a training reads of its data, on its device for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lungvae_core.data.resample import at_spacing, masks_at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.training.features import labels_for_features
from lungvae_core.training.guided import guides
from lungvae_core.training.joint import Labels, labels_for
from lungvae_core.training.lesions import Lesions, lesions_of, normal_scores, table_of
from lungvae_core.vae.config import Config


@dataclass(frozen=True)
class FitData:
    """N slices, and the masks, guides and labels that the configuration needs, else None."""

    keys: pd.DataFrame  # patient_id, nodule and slice of each
    train: Tensor  # rows, on the CPU
    held_out: Tensor  # rows
    hu: Tensor  # (N, 64, 64) int16: a quarter of float32, normalised batch by batch on the device
    masks: Tensor | None  # (N, 64, 64) bool
    guides: Tensor | None  # (N, G) normal scores, NaN where missing
    guide_table: Tensor | None  # the guides' values by score, for a decoder with a lesion layer
    lesions: Lesions | None
    truth: np.ndarray | None  # (M,) labels of the training slices for the feature loss, NaN where unknown
    labels: Labels | None
    targets: Tensor | None  # of `labels`: (N,) labels
    ratings: Tensor | None  # likewise: (N, R)

    def layers(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Background and lesion, each (N, 64, 64) in HU, of some of the training slices."""
        assert self.lesions is not None
        rows = self.train.to(self.hu.device)[chosen]
        return self.lesions.rows(rows).layers(self.hu[rows].float())


def on_device(
    config: Config, data: SliceSet, train: np.ndarray, held_out: np.ndarray, device: torch.device
) -> FitData:
    """The data of a training on the rows `train`; UserError where they lack what the configuration needs."""

    def put(values: np.ndarray | None) -> Tensor | None:
        return None if values is None else torch.tensor(values, device=device)

    spacing, objective = config.model.spacing_mm, config.objective
    slices = at_spacing(data.slices, data.table, spacing)
    masks = scores = guide_table = lesions = labels = None
    if objective.mask_focus or objective.guided:
        masks = masks_at_spacing(data.masks, data.table, spacing)
    if masks is not None and objective.guided:
        values, outlines = guides(config, slices, masks, data.table, train)
        scores = normal_scores(values)
        if config.model.lesion_layer:
            assert outlines is not None
            guide_table = table_of(values)
            lesions = lesions_of(outlines, values, train, config.model).to(device)
    if config.joint.rounds:
        labels = labels_for(config, data.table, train)
    return FitData(
        keys=data.table[["patient_id", "nodule", "slice"]].reset_index(drop=True),
        train=torch.as_tensor(train),
        held_out=torch.as_tensor(held_out, device=device),
        hu=torch.tensor(np.asarray(slices), device=device),
        masks=put(masks > 0) if masks is not None and objective.mask_focus else None,
        guides=put(scores),
        guide_table=guide_table,
        lesions=lesions,
        truth=labels_for_features(data.table, train) if objective.feature else None,
        labels=labels,
        targets=put(labels.labels if labels else None),
        ratings=put(labels.ratings if labels else None),
    )
