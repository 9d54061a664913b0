"""Compare two models of the same lesions: figures, neighbours, what their dimensions change."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lungvae_core.data.columns import KEY
from lungvae_core.evaluation.report import HeldOut, Report
from lungvae_core.evaluation.report_words import SIZE_WORDS, figure, label_rule
from lungvae_core.explore.measured.record import labels
from lungvae_core.number_text import DASH
from lungvae_core.serving.lesions.cases import Case
from lungvae_core.serving.lesions.lesion import nodule_of
from lungvae_core.serving.models.answers import kept
from lungvae_core.serving.models.registry import LoadedModel, ModelEntry, Registry
from lungvae_core.serving.walks import paths
from lungvae_core.vae.latents import FAMILIES

UNSEEN, ALL = "patients that the model never saw", "all patients"


def others(registry: Registry, model: LoadedModel) -> list[ModelEntry]:
    """Models of the same lesions, those with another prior first; the first is the default to compare."""
    same = [
        entry
        for entry in registry.entries()
        if entry.name != model.entry.name and entry.data.content_hash == model.entry.data.content_hash
    ]
    return sorted(same, key=lambda entry: entry.prior == model.entry.prior)


def same_rows(first: LoadedModel, second: LoadedModel) -> bool:
    """Whether a row means the same slice in both models' tables."""
    return first.table[KEY].equals(second.table[KEY])


def facts(first: LoadedModel, second: LoadedModel) -> pd.DataFrame:
    """Figures with their intervals, one column per model, in words; a dash where unknown."""
    columns = {}
    for model in (first, second):
        title = model.entry.title
        columns[title if title not in columns else f"{title} ({model.entry.name})"] = _facts(model)
    return pd.DataFrame(columns).dropna(how="all").fillna(DASH)


def facts_note(first: LoadedModel, second: LoadedModel) -> str:
    """The note to the figures: label rule, protocol, seeds, what intervals are."""
    sentences = [
        f"Labels: {label_rule(report)}. {report.protocol_in_words[:1].upper()}{report.protocol_in_words[1:]}."
        for report in (first.evaluation, second.evaluation)
        if report is not None
    ]
    sentences.append(
        "Intervals: 95 %, by drawing patients again. One training each, so no claim about a prior; intervals "
        "that overlap show no difference."
    )
    return " ".join(dict.fromkeys(sentences))


def overlap(model: LoadedModel, cases: Sequence[Case]) -> str:
    """How many of the two cases' neighbours are the same nodules, in a sentence."""
    nodules = [set(nodule_of(model)[case.neighbours].tolist()) for case in cases]
    shared = len(nodules[0] & nodules[1])
    most = max(map(len, nodules))
    if shared == 0:
        return f"None of the {most} nearest nodules is the same."
    return f"{shared} of the {most} nearest nodules {'is' if shared == 1 else 'are'} the same."


@kept
def named_dimensions(model: LoadedModel) -> pd.DataFrame | None:
    """Dimensions in use, those that change the picture most first, with their names; None unless measured."""
    report = paths.measured(model)
    if report is None:
        return None
    used, _, _ = paths.carried(model)
    names = labels(report)
    return pd.DataFrame(
        {
            "dimension": [f"z {at}" for at in used],
            "when it rises, the lesion": [names[at].name or "(nothing clear)" for at in used],
        }
    )


def _facts(model: LoadedModel) -> dict[str, str | None]:
    entry = model.entry
    figures: dict[str, str | None] = {
        "prior": FAMILIES[entry.prior].label,
        "preset": entry.preset,
        "dimensions": str(entry.dimensions),
    }
    report = model.evaluation
    drawn = None if report is None else report.validation
    figures["dimensions in use"] = None if drawn is None else str(drawn.active_units)
    for name, title, digits in (
        ("ssim", "SSIM of held-out patients' reconstructions (1 is the same)", 3),
        ("mse", "mean squared error of them, 0..1 scale", 5),
        ("kl", "KL, nats", 1),
    ):
        figures[title] = None if drawn is None else f"{getattr(drawn, name):.{digits}f}"
    if report is not None and not report.leaks:
        for part, unseen in reversed(report.parts):
            figures |= _aucs(part, UNSEEN if unseen else ALL)
    return figures


def _aucs(part: Report | HeldOut, whose: str) -> dict[str, str]:
    return {f"AUC per nodule, {whose}": figure(part.units.auc("nodule"))} | {
        f"{size} alone, same nodules, {whose}": figure(part.baselines[name].auc("nodule"))
        for name, size in SIZE_WORDS.items()
        if part.baselines and name in part.baselines
    }
