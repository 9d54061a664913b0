"""measured.json: written once, read by pages; and what pages show of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungvae_core.data.outlines import ANGLES, CENTRE, segment
from lungvae_core.data.properties import PROPERTIES
from lungvae_core.errors import UserError
from lungvae_core.explore.measured.detail import MUCH
from lungvae_core.explore.measured.name import NOTHING
from lungvae_core.explore.measured.schema import Measured
from lungvae_core.files import write_figures
from lungvae_core.schema import read_as
from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.latents import Latent

FILE, FORMAT = "measured.json", 1


def save(run: Run, measured: dict[str, Any]) -> None:
    """Write measured.json."""
    write_figures(run.folder / FILE, measured)


def load(run: Run) -> dict[str, Any] | None:
    """measured.json, or None where the run has none; UserError when it is damaged or not this model's."""
    if not run.has(FILE):
        return None
    again = f"lungvae measure {run.folder}"
    measured: dict[str, Any] = read_as(
        run.folder / FILE, Measured, what="The model's measured traversals", again=again, newest=FORMAT
    )
    if measured["dimensions_count"] != run.config.model.dimensions:
        raise UserError(f"{run.folder / FILE} was not made from this model. Make it again with `{again}`.")
    return measured


@dataclass(frozen=True)
class Label:
    """A slider's label and help."""

    name: str  # "" where nothing is named
    sentence: str  # the numbers, in a sentence or two


def labels(measured: dict[str, Any]) -> list[Label]:
    """A label a dimension, in their order."""
    labels = []
    for one in measured["dimensions"]:
        changes = [sentence(measured, one, key) for key in (*one["properties"], *one["others"])]
        name = one["name"] if one["properties"] or one["name"] == NOTHING else ""
        caption = (
            f"When it rises: {one['name']}. {' '.join(changes)} Mean of {measured['starts']['patients']} "
            f"lesions over the range {one['low']:.3g} to {one['high']:.3g}, 95 % interval."
        )
        labels.append(Label(name, caption))
    return labels


def sentence(measured: dict[str, Any], one: dict[str, Any], key: str) -> str:
    """A property's change along a dimension, as "Diameter: +4.6 px (3.0 to 6.3), ...", in mm too if known."""
    about = measured["properties"][key]
    change, low, high, effect, spearman, _ = one["moved"][key]
    unit = f" {about['unit']}" if about["unit"] else ""
    text = about["words"][0].upper() + about["words"][1:]
    text += f" {number(change)}{unit} ({number(low)} to {number(high)})"
    in_mm = one["mm"].get({"diameter_px": "diameter_mm", "area_px": "area_mm2"}.get(key, ""))
    if in_mm:
        unit = "mm" if key == "diameter_px" else "mm²"
        text += f", {number(in_mm[0])} {unit} ({number(in_mm[1])} to {number(in_mm[2])})"
    median = one.get("median_spearman", {}).get(key)
    spearman_text = number(spearman) + ("" if median is None else f" (median over lesions {number(median)})")
    return f"{text}; {number(effect)} SD of real lesions, Spearman {spearman_text}."


def judged_sentence(measured: dict[str, Any], dimension: int, rating: str) -> str:
    """A judge's prediction of a rating as a dimension rises, with its agreement, or why there is none."""
    figures = measured["dimensions"][dimension].get("judged", {}).get(rating)
    if figures is None:
        return f"Whether {rating} rises in the decoded images has not been judged. {why_not_judged(measured)}"
    change, low, high, spearman, rises = figures
    starts = measured["starts"]["patients"]
    smoothing = measured["judge"].get("smoothing_px")
    sees = f" It sees images smoothed by {smoothing:g} px." if smoothing else ""
    return (
        f"A judge of {rating} reads more of it in {round(rises * starts)} of {starts} lesions ({rises:.0%}): "
        f"{number(change)} ({number(low)} to {number(high)}) over the range, Spearman {number(spearman)} "
        f"(median). {judge_sentence(measured, rating)}{sees} {detail_sentence(measured, dimension)}".rstrip()
    )


def detail_sentence(measured: dict[str, Any], dimension: int) -> str:
    """What a dimension adds in fine detail at its ends, or "" where that is not much."""
    ends = measured["dimensions"][dimension].get("fine_share")  # older measurements have none
    if not ends or max(ends) < MUCH:
        return ""
    low, high = ends
    end, times = ("high", high) if high >= low else ("low", low)
    return (
        f"At its {end} end the share of detail under four pixels is {times:.2g} times the starting lesions': "
        "sharper edges, or fine patterns that no reader would count."
    )


def why_not_judged(measured: dict[str, Any]) -> str:
    """Why there is no judge for a rating, in a sentence."""
    judge = measured.get("judge")
    if judge is None:
        return "A judge learns ratings with `lungvae measure --data`, from a data set with readers' ratings."
    return judge.get("why_not") or "The slices that the judge learned from do not differ in it."


def judge_sentence(measured: dict[str, Any], rating: str, kind: str = "real") -> str:
    """How well the judge of a rating agrees with the readers, on unseen lesions.

    `kind`: on their `real` slices, or on the model's reconstructions of them, `reconstructed`.
    """
    agreement = measured["judge"]["ratings"][kind][rating]
    slices = "real slices" if kind == "real" else "reconstructed slices"
    counts = f"{agreement['n']:,} {slices} of {agreement['patients']:,} patients that it has not learned from"
    if agreement["value"] is None:
        return f"How good it is cannot be measured on {counts}: their readers' ratings are all alike."
    interval = ""
    if agreement["low"] is not None:
        interval = f" ({number(agreement['low'])} to {number(agreement['high'])})"
    return f"On {counts}, its Spearman with the readers' mean is {number(agreement['value'])}{interval}."


def number(value: float) -> str:
    """A signed number at three digits or fewer, with a proper minus."""
    digits = 0 if abs(value) >= 20 else 1 if abs(value) >= 5 else 2
    text = f"{value:+.{digits}f}"
    return f"±{text[1:]}" if float(text) == 0 else text.replace("-", "−")


def order(measured: dict[str, Any]) -> list[int]:
    """Dimensions: named ones first, and among each kind those first that move any property most."""
    place = measured["moved"].index("effect")
    keys = [key for key, one in PROPERTIES.items() if one.names]

    def strength(one: dict[str, Any]) -> float:
        return max((abs(one["moved"][key][place]) for key in keys if key in one["moved"]), default=0.0)

    ranked = sorted(measured["dimensions"], key=lambda one: (not one["properties"], -strength(one)))
    return [one["dimension"] for one in ranked]


def mean_walk(
    latent: Latent, codes: np.ndarray, measured: dict[str, Any], dimension: int
) -> tuple[np.ndarray, np.ndarray]:
    """(values (T,), codes (T, K)) of a dimension over its range from the mean code of the starting lesions.

    `codes` (N, K) are those of the model's table.
    """
    values = values_along(measured, dimension)
    rows = [row for row in measured["starts"]["rows"] if row < len(codes)]
    start = latent.valid(codes[rows].mean(0) if rows else codes.mean(0))
    return values, latent.path(start, dimension, values)


def values_along(measured: dict[str, Any], dimension: int) -> np.ndarray:
    """(T,) float32: a dimension's values at each step of its walk."""
    one = measured["dimensions"][dimension]
    even = np.linspace(one["low"], one["high"], measured["steps"])
    return np.asarray(one.get("values") or even, np.float32)


def outlines(hu: np.ndarray) -> np.ndarray:
    """(N, RAYS + 1, 2) columns and rows of the outlines found in slices hu (N, 64, 64) in HU, closed."""
    radius = segment(hu).radius
    closed = np.concatenate([radius, radius[:, :1]], axis=1)
    turn = np.append(ANGLES, ANGLES[0])
    return np.stack([CENTRE + closed * np.cos(turn), CENTRE + closed * np.sin(turn)], axis=-1)
