"""evaluation.json, the card's report of `lungvae classify` and `train`, as the pages read it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lungvae_core.evaluation.report import DiagnosisPart
from lungvae_core.schema import Count, Number, Part, Share, read_as
from lungvae_core.training.checkpoints import Run

FILE = "evaluation.json"


class Auc(Part):
    """An AUC with its 95 % interval over patients."""

    value: Share
    low: Share
    high: Share


class JustAuc(Part):
    """A baseline's AUC on a unit."""

    auc: Auc


class UnitPart(Part):
    """The model's AUC on a unit, and of how many."""

    auc: Auc
    count: Count
    malignant: Count
    patients: Count


class Units(Part):
    """The model per slice and per nodule."""

    slice: UnitPart
    nodule: UnitPart


class Baseline(Part):
    """A baseline per slice and per nodule."""

    slice: JustAuc
    nodule: JustAuc


class Some(Part):
    """Figures of some patients."""

    units: Units
    baselines: dict[str, Baseline] = Field(default_factory=dict)


class Reconstruction(Part):
    """How well held-out slices are redrawn."""

    scale: str
    ssim: Number
    mse: Number
    kl: Number
    active_units: Count


class Card(Part):
    """What the pages take from evaluation.json."""

    protocol: Literal["frozen", "joint", "released"]
    protocol_in_words: str
    label_rule: str
    nodule_rule: str | None = None
    transductive: bool = False
    seeds: Annotated[list[int], Field(max_length=1_000)]
    units: Units
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    heldout: Some | None = None
    reconstruction: Reconstruction | None = None
    diagnosis: DiagnosisPart | None = None


def load_card(run: Run) -> dict[str, Any] | None:
    """evaluation.json of a run, or None where it has none; UserError when it is damaged."""
    if not run.has(FILE):
        return None
    again = f"lungvae classify {run.folder}"
    card: dict[str, Any] = read_as(run.folder / FILE, Card, what="The model's evaluation", again=again)
    return card
