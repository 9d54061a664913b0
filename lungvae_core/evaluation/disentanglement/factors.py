"""The factors of nodules that codes are compared with: readers' ratings and sizes, or the phantom's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from lungvae_core.data.columns import NODULE
from lungvae_core.data.labels import calcified_share, reader_mean
from lungvae_core.data.phantom.factors import FACTORS
from lungvae_core.data.slices import RATINGS
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError

FOLDS = 5
LEAST_PATIENTS = 10
_LOG_OFFSET = 1e-5  # as in the classifier's centred log-ratios, so that both see the same


@dataclass(frozen=True)
class Factor:
    """One factor: what it is and how to judge a probe of it."""

    name: str
    words: str
    unit: str = ""
    binary: bool = False
    size: bool = False  # the factor that removes size from the others, so it has no part without size


@dataclass(frozen=True)
class Factors:
    """M nodules with L factors each, none missing."""

    kinds: list[Factor]
    values: np.ndarray  # (M, L) float
    nodules: pd.DataFrame  # (M, ) rows of patient_id, nodule and, if known, malignancy
    size: np.ndarray | None  # (M,) log of the diameter in mm
    left_out: int  # nodules that lack a factor

    @property
    def names(self) -> list[str]:
        return [kind.name for kind in self.kinds]

    @property
    def patients(self) -> np.ndarray:
        return self.nodules["patient_id"].to_numpy(str)


def factors_of(table: pd.DataFrame) -> Factors:
    """The factors of the nodules of a table of slices, in the order of patient and nodule.

    Phantoms have the factors that they were drawn from. Other nodules have the ratings' means over readers,
    except for internalStructure, which is almost always 1; calcification, which is rare, counts as present if
    at least half of the readers gave another rating than 6 (absent). They also have the log of the diameter
    and the mean over slices of the square root of the mask's area. A factor that a fifth of the nodules lack,
    or that does not vary, is left out. Then nodules that lack one of the remaining factors are left out.

    Raises UserError if no factor or fewer than 10 patients remain.
    """
    kinds, columns = _phantom(table) if "factor_diameter_mm" in table else _read(table)
    frame = table[NODULE].assign(**columns)
    if "malignancy" in table:
        frame["malignancy"] = table["malignancy"].to_numpy(dtype=float, na_value=np.nan)
    nodules = frame.groupby(NODULE, as_index=False).mean()
    usable = [kind for kind in kinds if nodules[kind.name].notna().mean() > 0.8]
    nodules = nodules.dropna(subset=[kind.name for kind in usable])
    usable = [kind for kind in usable if nodules[kind.name].nunique() > 1]
    patients = nodules["patient_id"].nunique()
    if not usable or patients < LEAST_PATIENTS:
        raise UserError(
            f"There are {len(usable)} factors of {patients} patients; disentanglement needs at least one "
            f"that varies, of {LEAST_PATIENTS} patients: readers' ratings (columns such as texture_all), "
            "diameter_mm, or a phantom."
        )
    size = next((nodules[kind.name].to_numpy(float) for kind in usable if kind.size), None)
    return Factors(
        usable,
        nodules[[kind.name for kind in usable]].to_numpy(float),
        nodules[[name for name in (*NODULE, "malignancy") if name in nodules]].reset_index(drop=True),
        size,
        len(frame.drop_duplicates(NODULE)) - len(nodules),
    )


def _read(table: pd.DataFrame) -> tuple[list[Factor], dict[str, np.ndarray]]:
    kinds, columns = [], {}
    for rating in RATINGS:
        if f"{rating}_all" not in table or rating in ("internalStructure", "calcification"):
            continue
        kinds.append(Factor(rating, f"mean over readers of the rating {rating}", "1 to 5"))
        columns[rating] = reader_mean(table, rating)
    if "calcification_all" in table:
        share = calcified_share(table)
        kinds.append(Factor("calcified", "at least half of the readers saw calcium", "0 or 1", binary=True))
        columns["calcified"] = np.where(np.isnan(share), np.nan, share >= 0.5)
    if "diameter_mm" in table:
        kinds.append(Factor("log_diameter", "log of the readers' diameter", "log mm", size=True))
        with np.errstate(divide="ignore"):
            logs = np.log(table["diameter_mm"].to_numpy(dtype=float, na_value=np.nan))
        columns["log_diameter"] = np.where(np.isfinite(logs), logs, np.nan)
    if "area_px" in table and "pixel_spacing_mm" in table:
        kinds.append(Factor("sqrt_area", "square root of the mask's area, mean over slices", "mm"))
        spacing = table["pixel_spacing_mm"].to_numpy(dtype=float, na_value=np.nan)
        columns["sqrt_area"] = np.sqrt(table["area_px"].to_numpy(float)) * spacing
    return kinds, columns


def _phantom(table: pd.DataFrame) -> tuple[list[Factor], dict[str, np.ndarray]]:
    kinds, columns = [], {}
    for name, span in FACTORS.items():
        values = table[f"factor_{name}"].to_numpy(float)
        if name == "diameter_mm":
            kinds.append(Factor("log_diameter", f"log of the {span.meaning}", "log mm", size=True))
            columns["log_diameter"] = np.log(values)
        elif name == "angle_deg":  # a turn by 180 degrees changes nothing
            for part, turn in (("angle_cos", np.cos), ("angle_sin", np.sin)):
                kinds.append(Factor(part, f"{turn.__name__} of twice the angle of the long axis"))
                columns[part] = turn(2 * np.deg2rad(values))
        else:
            kinds.append(Factor(name, span.meaning, span.unit))
            columns[name] = values
    return kinds, columns


def log_ratios(codes: np.ndarray) -> np.ndarray:
    """Centred log-ratios (N, K) of codes on the simplex (N, K); Aitchison 1982, doi 10.1111/j.2517-6161."""
    logs = np.log(np.clip(codes, 0, None) + _LOG_OFFSET)
    return logs - logs.mean(1, keepdims=True)


def nodule_means(table: pd.DataFrame, codes: np.ndarray, nodules: pd.DataFrame) -> np.ndarray:
    """(M, K) float64: mean of codes (N, K) over the slices of each of the M rows of `nodules`."""
    means = pd.DataFrame(codes.astype(float)).groupby([table[name].to_numpy() for name in NODULE]).mean()
    return means.reindex(pd.MultiIndex.from_frame(nodules[NODULE])).to_numpy()


def without_size(factors: Factors, *, seed: int = 0) -> tuple[Factors, dict[str, float]]:
    """The factors without what the log diameter explains of them, and its held-out R2 for each.

    For each patient-grouped fold, a cubic spline of the log diameter is fitted on the other folds, and the
    fold's values become their residuals. A binary factor becomes its residual from the predicted share.
    The diameter itself is left out. Raises UserError without a diameter.
    """
    if factors.size is None:
        raise UserError("Without a diameter, size cannot be removed from the factors.")
    size, predicted = factors.size[:, None], np.empty_like(factors.values)
    for train, test in grouped_folds(factors.nodules, FOLDS, seed=seed):
        spline = make_pipeline(
            SplineTransformer(n_knots=5, knots="quantile", extrapolation="linear"), Ridge(alpha=1e-3)
        )
        predicted[test] = spline.fit(size[train], factors.values[train]).predict(size[test])
    left = factors.values - predicted
    explained = 1 - (left**2).sum(0) / ((factors.values - factors.values.mean(0)) ** 2).sum(0)
    kept = [index for index, kind in enumerate(factors.kinds) if not kind.size]
    kinds = [
        Factor(kind.name, f"{kind.words}, less what the diameter explains", kind.unit)
        for kind in (factors.kinds[index] for index in kept)
    ]
    rest = Factors(kinds, left[:, kept], factors.nodules, factors.size, factors.left_out)
    return rest, {factors.names[index]: float(explained[index]) for index in kept}


def shuffled(patients: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(M,) the row whose factors each of M nodules gets in a null draw, which shuffles patients, not nodules.

    Nodules of a patient stay together and in order, so that their similarity stays in the null. Compare codes
    of `patients` (M,) with `factors[shuffled(patients, generator)]`.
    """
    order = np.argsort(patients, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(np.unique(patients[order], return_inverse=True)[1])) + 1)
    source = np.empty(len(patients), int)
    source[order] = np.concatenate([blocks[index] for index in generator.permutation(len(blocks))])
    return source
