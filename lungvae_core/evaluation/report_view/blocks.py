"""The building blocks of a report's sections: text, tables and figures as plain objects.

Text may contain **bold** and `code`, and no other markup; the code that draws it escapes the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lungvae_core.evaluation.report import Interval, ReliabilityBin
from lungvae_core.evaluation.report_view.checklist import Item
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import DASH, number

# What a row of a forest shows; each kind has its own colour and shape.
KINDS = {
    "model": "the model",
    "size": "size alone",
    "readers": "needs readers' ratings",
    "pixels": "from pixels, without a latent space of ours",
}

# Where a section goes on the page: full width, half width, or closed until opened.
PLACES = WIDE, HALF, SHUT = "wide", "half", "shut"


@dataclass(frozen=True)
class Text:
    """A paragraph; a soft one is a note."""

    kind: ClassVar[str] = "text"
    text: str
    soft: bool = False


def note(text: str) -> Text:
    """A soft paragraph."""
    return Text(text, soft=True)


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    lines: list[str]
    soft: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text; the page keeps a folded one closed until opened."""

    kind: ClassVar[str] = "table"
    head: list[str]
    rows: list[list[str]]
    title: str = ""
    caption: str = ""
    numbers: int | None = None  # columns from this one on are numbers, aligned right
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """A command, or settings as JSON."""

    kind: ClassVar[str] = "code"
    text: str
    language: str
    title: str = ""


@dataclass(frozen=True)
class Flow:
    """How many there were: each of the first two boxes leads to the next."""

    kind: ClassVar[str] = "flow"
    boxes: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Checklist:
    """What the guidelines ask, under headings."""

    kind: ClassVar[str] = "checklist"
    groups: list[tuple[str, list[Item]]]


@dataclass(frozen=True)
class Figure:
    """A drawing: its name on the page, and a title for those who cannot see it."""

    kind: ClassVar[str] = "figure"
    name: str
    title: str


@dataclass(frozen=True)
class Forest(Figure):
    """Values with their 95 % intervals, one per row, in groups with a heading."""

    groups: list[tuple[str, list[Row]]]
    axis: str = "AUC"
    zero: float | None = None  # a line to compare with
    limits: tuple[float, float] | None = None  # the least range to show; None: what the intervals need
    legend: bool = False  # whether to explain the kinds

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of its rows with their explanations."""
        there = {row.kind for _, rows in self.groups for row in rows}
        return {kind: text for kind, text in KINDS.items() if kind in there}


@dataclass(frozen=True)
class Step:
    """A bar of a waterfall; `gain` is over the step before, None for the first."""

    name: str
    note: str
    value: float
    gain: float | None

    @property
    def label(self) -> str:
        """The value, and the gain if there is one: "0.912 (+0.054)"."""
        return number(self.value) + ("" if self.gain is None else f" ({number(self.gain, signed=True)})")


@dataclass(frozen=True)
class Steps(Figure):
    """A waterfall: each bar starts where the one before ended. The axis does not begin at 0."""

    steps: list[Step]
    axis: str

    @property
    def limits(self) -> tuple[float, float, float]:
        """(lowest, highest, margin) of the axis."""
        values = [step.value for step in self.steps]
        margin = max(0.2 * (max(values) - min(values)), 0.01)
        return min(values) - 2 * margin, max(values), margin


@dataclass(frozen=True)
class Dots:
    """A row of dots, one per fold or seed, all of one kind of KINDS."""

    name: str
    values: list[float]
    kind: str

    @property
    def mean(self) -> float:
        """Their mean."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Strip(Figure):
    """Rows of dots, each with a stroke at its mean."""

    lines: list[Dots]
    axis: str = "AUC"


@dataclass(frozen=True)
class Square:
    """A curve in the unit square through the points (x, y), possibly the means of `bins`."""

    title: str
    note: str  # its figure, such as "AUC 0.943"
    across: str
    up: str
    x: list[float]
    y: list[float]
    chance: tuple[float, float] = (0.0, 1.0)  # y of the line of chance, at x = 0 and x = 1
    bins: list[ReliabilityBin] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """A count of the confusion matrix, its share of its row, and whether the call was right."""

    count: int
    share: float | None
    right: bool

    @property
    def percent(self) -> str:
        """The share as "94.1%"; a dash without one."""
        return DASH if self.share is None else f"{self.share:.1%}"


@dataclass(frozen=True)
class Panels:
    """The curves of a unit and its confusion matrix, with rows (truth, [called malignant, called benign])."""

    kind: ClassVar[str] = "panels"
    unit: str
    heading: str
    squares: list[Square]
    confusion: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Beside:
    """Two columns if there is room."""

    kind: ClassVar[str] = "beside"
    left: list[Block]
    right: list[Block]


Block = Text | Bullets | Table | Code | Flow | Checklist | Forest | Steps | Strip | Panels | Beside


@dataclass(frozen=True)
class Section:
    """A section with its name, which is its anchor in the HTML file."""

    name: str
    title: str
    place: str  # one of PLACES
    blocks: list[Block]


def ends(interval: Interval) -> tuple[float, float, float]:
    """(value, low, high) to draw; the value replaces a missing end."""
    value = interval.value or 0.0
    return (
        value,
        value if interval.low is None else interval.low,
        value if interval.high is None else interval.high,
    )
