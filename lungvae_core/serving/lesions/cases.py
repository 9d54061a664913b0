"""One lesion, from the data set or uploaded, with everything the Predict page says about it, in words.

A model score is a classifier's output on a code, never a probability of cancer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lungvae_core.data.columns import numbers, spelled_as
from lungvae_core.data.crops import crop
from lungvae_core.data.slices import RATINGS, malignancy_meaning, malignant, rating_text
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_words import SIZE_WORDS, figure, label_rule, units_of
from lungvae_core.explore.colours import TITLES
from lungvae_core.explore.neighbours import FAR, UNUSUAL
from lungvae_core.palette import diverging
from lungvae_core.serving.lesions import nodule_score
from lungvae_core.serving.lesions.images import file_of
from lungvae_core.serving.lesions.nodule_score import NoduleScore
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel, known_number
from lungvae_core.training.encode import encode_with_quality
from lungvae_core.training.seen import recognised

ERROR_FULL = 0.25  # share of the window's width at which an error has full colour
MOST_SLICES = 120  # per nodule; LIDC's largest have about 60


@dataclass(frozen=True)
class Case:
    """A lesion as the model sees it. Images are (64, 64) float32 in 0..1 of the model's window.

    `spacing_mm` is the images' spacing: the model's if it has a fixed one, else the slice's.
    """

    title: str
    code: np.ndarray  # (K,)
    image: np.ndarray | None  # the CT slice; None if it is not on this machine
    reconstruction: np.ndarray
    score: float | None
    score_note: str
    ssim_rank: float | None  # share of the model's slices that are reconstructed better
    distance_rank: float | None  # share of them that are nearer to another patient
    neighbours: list[int]  # rows of other patients, nearest first, one per patient
    distances: list[float]
    spacing_mm: float | None = None
    row: int | None = None  # in the model's table; None for an upload
    patient: str | None = None  # of the data set, whose lesion it is
    band: tuple[float, float] | None = None  # of the score: 90 % of classifiers fitted on resampled patients

    @property
    def error(self) -> np.ndarray | None:
        """(64, 64) the reconstruction less the slice, in the window's widths; None without the slice."""
        return None if self.image is None else self.reconstruction - self.image


@dataclass(frozen=True)
class NoduleCase:
    """A nodule with several uploaded slices: M slices, in the order of the stack."""

    slices: tuple[int, ...]  # which slices of the stack, from 0
    codes: np.ndarray  # (M, K)
    judged: NoduleScore | None  # None for a model without a classifier
    distance_ranks: np.ndarray  # (M,) share of the model's slices that are nearer to another patient
    ssim_ranks: np.ndarray  # (M,) share of them that are reconstructed better; NaN if unknown


def case_of_row(model: LoadedModel, row: int, *, count: int = 8) -> Case:
    """A lesion of the data set, with its stored score and its neighbours from other patients."""
    entry = model.lesion(row)
    patient = str(entry["patient_id"])
    rows, distances = model.nearness.neighbours(model.codes[row], count, exclude_patient=patient)
    image, real = model.image(row)
    score, ssim = known_number(entry, "score"), known_number(entry, "ssim")
    return Case(
        title=f"{patient}, nodule {entry['nodule']}, slice {entry['slice']}",
        code=model.codes[row],
        image=image if real else None,
        reconstruction=model.decode(model.codes[row][None])[0],
        score=score,
        score_note=scoring.of_row(model, row) if score is not None else "",
        ssim_rank=None if ssim is None else model.ssim_rank(ssim),
        distance_rank=None,
        neighbours=rows.tolist(),
        distances=distances.tolist(),
        spacing_mm=model.shown_spacing(row),
        row=row,
        patient=patient,
        band=None if score is None else model.band_of(model.codes[row], patient=patient),
    )


def case_of_upload(
    model: LoadedModel,
    hu: np.ndarray,
    *,
    title: str,
    spacing_mm: float | None = None,
    patient_id: str = "",
    count: int = 8,
) -> Case:
    """An uploaded slice hu (64, 64) int16; its neighbours exclude `patient_id` if the data set has it.

    `spacing_mm` is the spacing of hu's pixels; UserError if it is unknown and the model needs it.
    """
    patient = patient_of_upload(model, hu[None], patient_id)
    prediction = model.predict(hu, spacing_mm=spacing_mm, count=count, exclude_patient=patient)
    note = scoring.of_walk(model, patient)
    if patient is not None:
        note = f"**{patient} is a patient of this set.** {note}"
    if own := own_slice_words(model, hu):
        note = f"{note} **{own}**"
    return Case(
        title=title,
        code=prediction.code,
        image=model.vae.images(model.seen(hu, spacing_mm)[None])[0, 0].numpy(),
        reconstruction=prediction.reconstruction,
        score=prediction.score,
        score_note=note,
        ssim_rank=prediction.ssim_rank,
        distance_rank=prediction.distance_rank,
        neighbours=[neighbour["row"] for neighbour in prediction.neighbours],
        distances=[neighbour["distance"] for neighbour in prediction.neighbours],
        spacing_mm=model.spacing_mm or spacing_mm,
        patient=patient,
        band=prediction.band,
    )


def own_slice_words(model: LoadedModel, hu: np.ndarray) -> str:
    """A sentence if hu (64, 64) shows a slice of the data that the model was trained on, else empty."""
    own = recognised(model.run, hu[None])
    if own is None:
        return ""
    return (
        f"This slice is the same picture as one of the model's own data ({own['patient_id']}, nodule "
        f"{own['nodule']}, slice {own['slice']}), whatever its file is called: what the model says of it is "
        "no test."
    )


def patient_of_upload(model: LoadedModel, hu: np.ndarray, patient_id: str = "") -> str | None:
    """The data set's patient whose slices hu (N, 64, 64) are: matched by id, or by an identical slice."""
    if patient := known_patient(model, patient_id):
        return patient
    own = recognised(model.run, hu)
    return None if own is None else known_patient(model, str(own["patient_id"]))


def known_patient(model: LoadedModel, patient_id: str) -> str | None:
    """The id that the model's data set has for a patient, else None."""
    if not patient_id:
        return None
    own = set(model.table["patient_id"].astype(str).unique())
    return next((name for name in spelled_as([patient_id], own) if name in own), None)


def nodule_of_upload(
    model: LoadedModel,
    stack: np.ndarray,
    boxes: dict[int, tuple[float, float]],
    *,
    spacing_mm: float | None = None,
    patient_id: str = "",
) -> NoduleCase:
    """All slices of one nodule of stack (slices, rows, columns) int16 HU; `boxes` centre their crops.

    Raises UserError for too many slices, and for an unknown spacing if the model needs it.
    """
    if not 0 < len(boxes) <= MOST_SLICES:
        raise UserError(
            f"{len(boxes):,} slices are no nodule; at most {MOST_SLICES} are judged. Choose fewer slices."
        )
    numbers = tuple(sorted(boxes))
    crops = np.stack([crop(stack[at], *boxes[at]) for at in numbers])
    codes, quality = encode_with_quality(model.vae, np.stack([model.seen(hu, spacing_mm) for hu in crops]))
    patient = patient_of_upload(model, crops, patient_id)
    ranks = [model.ssim_rank(float(ssim)) for ssim in quality["ssim"]]
    return NoduleCase(
        slices=numbers,
        codes=codes,
        judged=nodule_score.judge(model, codes, patient=patient),
        distance_ranks=model.familiarity(codes, exclude_patient=patient),
        ssim_ranks=np.array([np.nan if rank is None else rank for rank in ranks]),
    )


def nodule_words(case: NoduleCase) -> list[str]:
    """Sentences: which slices drive the nodule's score, and which differ from the model's own data."""
    sentences = []
    judged = case.judged
    if judged is not None and len(case.slices) > 1:
        most = int(np.abs(judged.drives).argmax())
        way = "raises" if judged.drives[most] > 0 else "lowers"
        sentences.append(
            f"Slice {case.slices[most] + 1} drives it most: it {way} the score by "
            f"{abs(judged.drives[most]):.2f}. The slices' own scores go from {judged.slices.min():.2f} to "
            f"{judged.slices.max():.2f}."
        )
    far = [at + 1 for at, rank in zip(case.slices, case.distance_ranks, strict=True) if rank >= FAR]
    badly = [at + 1 for at, rank in zip(case.slices, case.ssim_ranks, strict=True) if rank >= FAR]
    for slices, what in ((far, "far from all lesions that the model knows"), (badly, "drawn badly")):
        if len(slices) == 1:
            sentences.append(f"Slice {slices[0]} is {what}.")
        elif slices:
            sentences.append(f"{len(slices)} of its slices are {what}.")
    return sentences


def error_words(model: LoadedModel, case: Case) -> str:
    """How far the reconstruction is from the slice, in HU within the window; empty without the slice."""
    if case.error is None:
        return ""
    low, high = model.window
    return f"{float(np.abs(case.error).mean()) * (high - low):.0f} HU off on average"


def error_png(case: Case) -> bytes | None:
    """The error as a PNG: blue where the reconstruction is darker than the slice, orange where lighter."""
    return None if case.error is None else file_of(Image.fromarray(diverging(case.error, ERROR_FULL)), "PNG")


def hints(case: Case) -> list[tuple[bool, str]]:
    """(whether it is a warning, sentence): how typical the image is for the model."""
    sentences = (
        (
            case.ssim_rank,
            "The model draws this image worse than {} of its own slices. It may show something that the "
            "model has not learned: do not rely on the score.",
            "Unusual: the model draws this image worse than {} of its own slices.",
            "Reconstruction: as usual (worse than {} of the model's own slices).",
        ),
        (
            case.distance_rank,
            "Far from all lesions: its nearest is farther than that of {} of the model's own slices. It has "
            "seen hardly anything like it: do not rely on the score.",
            "Unusual: its nearest lesion is farther than that of {} of the model's own slices.",
            "Nearest lesion: as near as usual (farther than that of {} of the own slices).",
        ),
    )
    chosen = []
    for rank, far, unusual, usual in sentences:
        if rank is not None:
            sentence = far if rank >= FAR else unusual if rank >= UNUSUAL else usual
            chosen.append((rank >= UNUSUAL, sentence.format(_percent(rank))))
    return chosen


def score_context(model: LoadedModel, score: float) -> str:
    """Where a score lies among those of the labelled slices; empty without labelled slices."""
    groups = _scores_by_label(model)
    if len(groups) < 2:
        return ""
    benign, suspicious = (float((group < score).mean()) for group in groups.values())
    return (
        f"Higher than {_percent(benign)} of the slices that readers took for benign (1, 2) and than "
        f"{_percent(suspicious)} of those they took for malignant (4, 5)."
    )


def score_histograms(model: LoadedModel, bins: int = 24) -> dict[str, list[float]]:
    """Shares (0..1) of the benign and the malignant slices' stored scores in `bins` equal bins of 0..1."""
    return {
        name: (np.histogram(scores, bins, range=(0, 1))[0] / len(scores)).tolist()
        for name, scores in _scores_by_label(model).items()
    }


def _scores_by_label(model: LoadedModel) -> dict[str, np.ndarray]:
    """The stored scores of the benign and of the malignant slices; without a class that has none."""
    labels, scores = malignant(model.table), numbers(model.table, "score")
    scored = ~np.isnan(scores)
    groups = {"benign": scores[scored & (labels == 0)], "malignant": scores[scored & (labels == 1)]}
    return {name: group for name, group in groups.items() if len(group)}


def evaluated(report: Report | None) -> tuple[pd.DataFrame, str] | None:
    """(AUC with its interval and the size baselines, one row per unit; a description), or None."""
    if report is None:
        return None
    rows = {}
    for unit in units_of(report):
        figures = report.units.of(unit)
        assert figures is not None
        row = {"model": figure(figures.auc, 2)}
        for name, size in SIZE_WORDS.items():
            baseline = (report.baselines or {}).get(name)
            row[f"{size} alone"] = figure(None if baseline is None else baseline.auc(unit), 2)
        rows[f"{figures.count:,} {unit}s, {figures.malignant:,} malignant"] = row
    sentences = [report.protocol_in_words, f"labels: {label_rule(report)}"]
    if report.transductive:
        sentences.append("the VAE itself was trained on these slices, without labels")
    how = " ".join(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in sentences if sentence)
    return pd.DataFrame.from_dict(rows, orient="index"), f"{how} Intervals cover 95 %."


def ratings(model: LoadedModel, rows: Sequence[int], distances: Sequence[float]) -> pd.DataFrame:
    """The lesions of `rows`, nearest first, with each reader's rating ("4, 5, 3")."""
    lesions = [model.lesion(row) for row in rows]  # a hundred times faster than rows of the table
    stored = set(model.table)
    columns: dict[str, Any] = {
        "lesion": [
            f"{each['patient_id']}, nodule {each['nodule']}, slice {each['slice']}" for each in lesions
        ],
        "distance": [round(float(distance), 2) for distance in distances],
    }
    if "malignancy" in stored:
        columns["malignancy (median)"] = [
            "not rated" if pd.isna(rating) else f"{rating_text(rating)} {malignancy_meaning(rating)}"
            for rating in (each["malignancy"] for each in lesions)
        ]
    if "diameter_mm" in stored:
        columns["diameter mm"] = [
            None if pd.isna(each["diameter_mm"]) else round(float(each["diameter_mm"]), 1) for each in lesions
        ]
    for name in ["malignancy", *(name for name in RATINGS if name != "malignancy")]:
        if (column := f"{name}_all") in stored:
            columns[f"{TITLES.get(name, name)}, each reader"] = [
                "" if pd.isna(each[column]) else str(each[column]).replace("|", ", ") for each in lesions
            ]
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(lesions) + 1, name="no."))


def _percent(share: float) -> str:
    """A share in per cent, never rounded up to 100: the lesion itself is always left."""
    return f"{min(share, 0.99):.0%}"
