"""Gated attention over the slices of a nodule: how much each of them counts for its logit.

Attention-based multiple-instance learning (Ilse et al., arXiv 1802.04712, eq. 8 and 9): a slice's weight is
the softmax, over its nodule, of w^T (tanh(V h) * sigmoid(U h)), where h is a small layer's view of its code.
The labels are the nodules'; outline, size and number of slices are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lungvae_core.data.columns import NODULE
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import one_cycle, one_thread
from lungvae_core.training.inputs import Inputs, ReadsCodes, load_members, save_members
from lungvae_core.training.weights_file import fitting
from lungvae_core.vae.objective import label_loss

FILE = "attention.safetensors"
MOST_MEMBERS = 101  # that are read: the final one, and one a fold


class AttentionConfig(BaseModel):
    """The pooling and its training; chosen beforehand, never on tested nodules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # codes: the slices' views are averaged by attention, and a layer judges the average;
    # logits: a layer judges every slice, and the logits are averaged by attention
    over: Literal["codes", "logits"] = "codes"
    hidden: int = Field(default=64, ge=1, le=16_384)
    gate: int = Field(default=32, ge=1, le=16_384)  # units of V and U
    dropout: float = Field(default=0.5, ge=0, lt=1)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1)  # nodules
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


class Attention(ReadsCodes):
    """Codes (N, K) of the slices of M nodules to logits (M,); the standardisation is part of it."""

    settings = AttentionConfig
    config: AttentionConfig

    def __init__(self, dimensions: int, config: AttentionConfig, inputs: Inputs) -> None:
        super().__init__(dimensions, config, inputs)
        size = config.hidden
        self.view = nn.Sequential(nn.Linear(self.count, size), nn.GELU(), nn.Dropout(config.dropout))
        self.tanh_gate = nn.Linear(size, config.gate)  # V
        self.sigmoid_gate = nn.Linear(size, config.gate)  # U
        self.score = nn.Linear(config.gate, 1, bias=False)  # w
        self.judge = nn.Sequential(
            nn.Linear(size, size), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(size, 1)
        )

    def forward(self, codes: Tensor, nodule: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """(logits (count,), weights (N,) that add up to 1 in every nodule).

        `nodule` (N,) int64 says which of the `count` nodules a slice belongs to; each has at least one.
        """
        view = self.view(self.features(codes))  # (N, H)
        gate = torch.tanh(self.tanh_gate(view)) * torch.sigmoid(self.sigmoid_gate(view))
        weights = _softmax_within(self.score(gate)[:, 0], nodule, count)
        if self.config.over == "logits":
            return _sum_within(weights[:, None] * self.judge(view), nodule, count)[:, 0], weights
        return self.judge(_sum_within(weights[:, None] * view, nodule, count))[:, 0], weights

    @torch.inference_mode()
    def logits(self, codes: np.ndarray, table_rows: pd.DataFrame) -> pd.DataFrame:
        """One row per nodule, sorted: patient_id, nodule, logit (float64) and the number of slices.

        Codes (N, K) of the slices in `table_rows` (N rows), whose order does not matter.
        """
        assert not self.training
        keys, nodule = _nodules(table_rows, len(codes))
        inputs = torch.tensor(np.asarray(codes), dtype=torch.float32)
        logits, _ = self(inputs, torch.tensor(nodule), len(keys))
        return keys.assign(logit=logits.double().numpy(), slices=np.bincount(nodule, minlength=len(keys)))

    @torch.inference_mode()
    def of_nodule(self, codes: np.ndarray) -> tuple[float, np.ndarray]:
        """(logit, weights (N,) float64 that add up to 1) of one nodule by the codes (N, K) of its slices."""
        inputs = torch.tensor(np.asarray(codes), dtype=torch.float32)
        logits, weights = self(inputs, torch.zeros(len(inputs), dtype=torch.long), 1)
        return float(logits[0]), weights.double().numpy()


def fit_attention(
    codes: np.ndarray,
    table_rows: pd.DataFrame,
    labels: np.ndarray,
    *,
    seed: int,
    inputs: Inputs,
    config: AttentionConfig | None = None,
) -> Attention:
    """Train on codes (N, K) of the slices in `table_rows` with labels (N,): 1, 0 or NaN, which is left out.

    A nodule counts once, however many slices it has. Every epoch uses a random share of them, so that no
    nodule can be recognised by its number of slices or a single slice.

    One thread trains it; the same seed gives the same attention in whatever order the rows come (where the
    table has `slice`). The caller's random state is left as it was. Raises UserError when only one class is
    there, or when the slices of a nodule have different labels.
    """
    config = config or AttentionConfig()
    labels = np.asarray(labels, float)
    labelled = np.flatnonzero(~np.isnan(labels))
    table = table_rows.iloc[labelled]
    if "slice" in table:
        order = np.lexsort((table["slice"], table["nodule"], table["patient_id"].astype(str)))
        labelled, table = labelled[order], table.iloc[order]
    keys, nodule = _nodules(table, len(labelled))
    target = _of_nodules(labels[labelled], nodule, keys)
    if len(target) == 0 or target.min() == target.max():
        raise UserError(
            "Attention over slices needs both malignant and benign nodules to learn from; here is one class."
        )
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        read = torch.tensor(np.asarray(codes)[labelled], dtype=torch.float32)
        model = Attention(read.shape[1], config, inputs)
        model.standardise(read)
        _train(model, read, torch.tensor(nodule), torch.tensor(target, dtype=torch.float32))
    return model.eval()


def _train(model: Attention, codes: Tensor, nodule: Tensor, target: Tensor) -> None:
    """Learn the labels `target` (M,) of nodules from codes (N, K) of slices; `nodule` (N,) says whose."""
    config, step = model.config, one_cycle(model, model.config, len(target))
    size = torch.bincount(nodule, minlength=len(target))
    model.train()
    for _ in range(config.epochs):
        turn = torch.randperm(len(target))  # nodule `turn[place]` has its turn at `place`
        place = torch.argsort(turn)
        rows, shown = _some(place[nodule], size[turn])
        ends = shown.cumsum(0)
        for first in range(0, len(turn), config.batch_size):
            chosen = turn[first : first + config.batch_size]
            part = rows[ends[first] - shown[first] : ends[first + len(chosen) - 1]]
            logits, _ = model(codes[part], place[nodule[part]] - first, len(chosen))
            step(label_loss(logits, target[chosen], (1.0, 1.0)))


def _some(nodule: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """(rows of a random subset of every nodule's slices, sorted by nodule; (M,) how many of each).

    `nodule` (N,) says whose a slice is and `size` (M,) how many each has. At least one is drawn, and any
    number up to all of them is as likely.
    """
    shown = (torch.rand(len(size)) * size).long().clamp(max=size - 1) + 1
    order = torch.argsort(nodule + torch.rand(len(nodule), dtype=torch.float64))  # shuffled within nodules
    rank = torch.arange(len(order)) - (size.cumsum(0) - size)[nodule[order]]
    return order[rank < shown[nodule[order]]], shown


def _nodules(table: pd.DataFrame, count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """(the nodules' keys, sorted; (N,) int64: the nodule of every slice)."""
    if len(table) != count:
        raise ValueError(f"{count} codes, but {len(table)} rows of the table")
    groups = table.groupby(NODULE, sort=True, observed=True)
    keys = groups.size().index.to_frame(index=False)
    return keys, groups.ngroup().to_numpy(np.int64)


def _of_nodules(labels: np.ndarray, nodule: np.ndarray, keys: pd.DataFrame) -> np.ndarray:
    """(M,) the nodules' labels, from those of their slices (N,)."""
    count = np.bincount(nodule, minlength=len(keys))
    target = np.bincount(nodule, labels, minlength=len(keys)) / np.maximum(count, 1)
    torn = np.flatnonzero((target != 0) & (target != 1))
    if len(torn):
        name = "/".join(str(part) for part in keys.iloc[torn[0]])
        raise UserError(
            f"The slices of nodule {name} have different labels; attention learns from the nodule's, so its "
            "slices must share one. Correct the labels, or number the nodules apart."
        )
    return target


def _softmax_within(scores: Tensor, nodule: Tensor, count: int) -> Tensor:
    """(N,) softmax of scores (N,) over the slices of each nodule."""
    highest = torch.full((count,), -torch.inf).scatter_reduce(0, nodule, scores.detach(), "amax")
    powers = (scores - highest[nodule]).exp()
    return powers / torch.zeros(count).index_add(0, nodule, powers)[nodule]


def _sum_within(values: Tensor, nodule: Tensor, count: int) -> Tensor:
    """(count, H) the sum of values (N, H) over the slices of each nodule."""
    return torch.zeros(count, values.shape[1]).index_add(0, nodule, values)


@dataclass(frozen=True)
class Attentions:
    """A run's attention over slices: the final one, and one a fold for the patients that it has not seen."""

    final: Attention  # fitted on all nodules that it may learn from
    folds: tuple[Attention, ...]
    fold_of: dict[str, int]  # patient -> the fold whose attention has not seen it

    def of(self, patient: str | None) -> Attention:
        """The attention for a patient's nodules: one that has not seen their label."""
        fold = None if patient is None else self.fold_of.get(patient)
        return self.final if fold is None else self.folds[fold]

    def logits(self, codes: np.ndarray, table_rows: pd.DataFrame) -> pd.DataFrame:
        """`Attention.logits` of slices of the set (N rows), each patient's nodules by `of`."""
        patients = table_rows["patient_id"].astype(str)
        fold = patients.map(self.fold_of).fillna(-1).to_numpy(int)
        parts = [
            (self.final if number < 0 else self.folds[number]).logits(
                codes[fold == number], table_rows[fold == number]
            )
            for number in np.unique(fold)
        ]
        return pd.concat(parts).sort_values(NODULE).reset_index(drop=True)


def save_attentions(run: Run, attentions: Attentions) -> None:
    """Write attention.safetensors into the run."""
    patients = sorted(attentions.fold_of)
    fold = torch.tensor([attentions.fold_of[each] for each in patients], dtype=torch.int64)
    save_members(run.folder / FILE, (attentions.final, *attentions.folds), patients, {"fold": fold})


def load_attentions(run: Run) -> Attentions | None:
    """The run's attention over slices, or None when it has none; UserError when damaged."""
    if not run.has(FILE):
        return None
    path = run.folder / FILE
    with fitting(path):
        members, patients, tensors = load_members(
            path,
            partial(Attention.empty, run),
            lambda _, length: {"fold": torch.empty(length, dtype=torch.int64, device="meta")},
            most=MOST_MEMBERS,
            what="folds",
        )
        folds = tensors["fold"].tolist()
        if any(not 0 <= number < len(members) - 1 for number in folds):
            raise ValueError("it names folds that it does not have")
    return Attentions(members[0], tuple(members[1:]), dict(zip(patients, folds, strict=True)))
