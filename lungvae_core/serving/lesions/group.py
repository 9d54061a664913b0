"""A selected group of lesions: how it differs from all others, its mean code and its mean image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import reader_mean
from lungvae_core.data.slices import RATINGS
from lungvae_core.explore import typical
from lungvae_core.explore.colours import SCALES, TITLES
from lungvae_core.explore.typical import Contrast
from lungvae_core.serving.lesions import lesion
from lungvae_core.serving.models.answers import kept
from lungvae_core.serving.models.registry import LoadedModel

ORDERS = {
    "typical": "most typical first",
    "selected": "in the table's order",
    "size": "largest first",
    "malignancy": "most suspicious first",
    "score": "highest score first",
}
_COLUMNS = {"size": "diameter_mm", "malignancy": "malignancy", "score": "score"}
MOST_READ, MOST_DECODED = 4000, 128  # most slices in a mean image; more would keep people waiting


@dataclass(frozen=True)
class Figure:
    """The description of a figure."""

    title: str
    unit: str = ""
    digits: int = 1
    low: str = ""  # what a small and a large value mean
    high: str = ""


FIGURES = {
    **{name: Figure(TITLES.get(name, name), low=SCALES[name][2], high=SCALES[name][3]) for name in RATINGS},
    "diameter_mm": Figure("diameter", unit=" mm"),
    "score": Figure("model score", digits=2),
    "ssim": Figure("redrawn by the model (SSIM)", digits=2),
}


@dataclass(frozen=True)
class MeanImage:
    """The mean of a group's images; it shows no single patient."""

    image: np.ndarray  # (64, 64) float32, 0..1 of the model's window
    real: bool  # from CT slices; else from the model's reconstructions, which are generated
    count: int  # images averaged
    of: int  # images represented


def contrasts(model: LoadedModel, rows: Sequence[int]) -> list[Contrast]:
    """The model's FIGURES in the group against the rest, malignancy, size and scores first."""
    values, patients = _figures(model)
    return typical.contrasts(values, lesion.nodule_of(model), patients, np.asarray(rows, int))


def mean_code(model: LoadedModel, rows: Sequence[int]) -> np.ndarray:
    """(K,) float32: the mean of the group's codes, a valid code."""
    return model.latent.valid(model.codes[list(rows)].mean(0))


def most_typical(model: LoadedModel, rows: Sequence[int], count: int = 6) -> list[int]:
    """The slices nearest to the group's mean code in the latent space, at most one a nodule."""
    nearest = _by_nearness(model, rows)
    _, first = np.unique(lesion.nodule_of(model)[nearest], return_index=True)
    return nearest[np.sort(first)[:count]].tolist()


def can_order(model: LoadedModel, order: str) -> bool:
    """Whether the model's table has the column that one of ORDERS sorts by."""
    return order not in _COLUMNS or _COLUMNS[order] in model.table


def ordered(model: LoadedModel, rows: Sequence[int], order: str) -> list[int]:
    """The group's rows in one of ORDERS; those with an unknown figure come last."""
    if order == "typical":
        return _by_nearness(model, rows).tolist()
    column = _COLUMNS.get(order)
    if column is None or column not in model.table:
        return sorted(rows)
    values = numbers(model.table, column)[list(rows)]
    return np.asarray(rows)[np.argsort(-values, kind="stable")].tolist()


def mean_image(model: LoadedModel, rows: Sequence[int]) -> MeanImage:
    """The mean of the group's CT slices if this machine has any, else of its reconstructions.

    For a large group it is the mean of an evenly spaced sample, `count` of `of`.
    """
    chosen = np.asarray(rows, int)
    real = model.real[chosen]
    of_ct = bool(real.any())
    chosen = chosen[real] if of_ct else chosen
    most = MOST_READ if of_ct else MOST_DECODED
    sample = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int))]
    total = np.zeros((64, 64))
    for start in range(0, len(sample), 256):
        total += model.images(sample[start : start + 256])[0].sum(0)
    return MeanImage((total / len(sample)).astype(np.float32), of_ct, len(sample), len(chosen))


def _by_nearness(model: LoadedModel, rows: Sequence[int]) -> np.ndarray:
    code = mean_code(model, rows)
    return typical.by_nearness(model.codes, np.asarray(rows, int), code, prior=model.entry.prior)


@kept
def _figures(model: LoadedModel) -> tuple[pd.DataFrame, np.ndarray]:
    """((N slices, the figures that the model's table has), (N,) each slice's patient by number)."""
    table = model.table
    columns = {
        name: reader_mean(table, name) if f"{name}_all" in table else numbers(table, name)
        for name in ["malignancy", "diameter_mm", "score", *FIGURES]
    }
    usable = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return pd.DataFrame(usable), pd.factorize(table["patient_id"].astype(str))[0]
