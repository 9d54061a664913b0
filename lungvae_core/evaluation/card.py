"""evaluation.json, the report for a model's card by `lungvae classify` and `train`, as the pages read it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS, Description
from lungvae_core.evaluation.report import DiagnosisPart, Interval
from lungvae_core.files import write_json
from lungvae_core.json_text import plain
from lungvae_core.schema import Count, Number, Part, Share, read_as, wrong_at
from lungvae_core.training.checkpoints import Run

FILE = "evaluation.json"
CARD_SIZES = ("diameter", "area")  # the baselines shown beside the model


class Auc(Interval):
    """An AUC with its 95 % interval over patients; a card has no figure that could not be computed."""

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


class Card(Some):
    """What the pages take from evaluation.json."""

    protocol: Literal["transductive", "joint", "released"]
    protocol_in_words: str
    label_rule: str
    nodule_rule: str | None = None
    transductive: bool = False
    seeds: Annotated[list[int], Field(max_length=1_000)]
    heldout: Some | None = None
    reconstruction: Reconstruction | None = None
    diagnosis: DiagnosisPart | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, value: Any) -> Any:
        # Today `frozen` only names the protocol of `lungvae evaluate` that trains a VAE in each fold.
        if isinstance(value, dict) and value.get("protocol") == "frozen":
            words = PROTOCOLS["transductive"].in_full
            return {**value, "protocol": "transductive", "protocol_in_words": words}
        return value

    @property
    def description(self) -> Description:
        """Its protocol in words."""
        return PROTOCOLS[self.protocol]

    @property
    def leaks(self) -> bool:
        """Whether labels of tested patients shaped the codes."""
        return bool(self.description.leaks)

    @property
    def parts(self) -> list[tuple[Some, bool]]:
        """(figures, whether they are of patients that the VAE never saw), the fairest last."""
        held_out = [] if self.heldout is None else [(self.heldout, True)]
        return [(self, self.description.held_out_only), *held_out]


def load_card(run: Run) -> Card | None:
    """evaluation.json of a run, or None if it has none; UserError if it is damaged."""
    if not run.has(FILE):
        return None
    again = f"lungvae classify {run.folder}"
    return Card.model_validate(read_as(run.folder / FILE, Card, what="The model's evaluation", again=again))


def save_card(run: Run, report: dict[str, Any]) -> None:
    """Write evaluation.json; if `load_card` would refuse it, raise UserError and write nothing."""
    value = plain(report)
    if (place := wrong_at(value, Card)) is not None:
        raise UserError(
            f"The evaluation of {run.folder} was not written: it is wrong{place}. This is a fault of the "
            "protocol, not of the data."
        )
    write_json(run.folder / FILE, value)
