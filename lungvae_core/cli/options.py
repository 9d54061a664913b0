"""Options that several commands share, and functions that process them.

A setting is described only in its configuration; `option` turns it into an option.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from lungvae_core.errors import UserError

if TYPE_CHECKING:
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.seen import Seen


def option(
    kind: type[BaseModel], name: str, *more: str, says_default: bool = False, names: str | None = None
) -> Any:
    """Make a setting's option; its help is the setting's description followed by `more` sentences.

    With `says_default` the help also gives the configuration's default, for an option that is None when
    omitted. `names` are the option's spellings if they do not come from the parameter's name.
    """
    field = kind.model_fields[name]
    sentences = [field.description or "", *more, *([f"Default: {field.default}."] if says_default else [])]
    return typer.Option(*([names] if names else []), help=" ".join(sentences))


RunFolder = Annotated[Path, typer.Argument(help="A run's or model's folder.")]
Model = Annotated[str, typer.Argument(help="A model's folder, or its name in models/ or runs/.")]
Data = Annotated[Path, typer.Option(help="A data set's folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of one training.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Processes to use. Default: one per core.")]
Ray = Annotated[
    str | None,
    typer.Option(
        help="Run on a Ray cluster: auto, or its HOST:PORT. All its machines need this project installed and "
        "the folders under the same paths. Default: processes of this machine."
    ),
]
Diagnoses = Annotated[
    Path | None,
    typer.Option(
        help="A table of confirmed diagnoses (patient_id, diagnosis: 0 unknown, 1 benign, 2 primary, "
        "3 metastatic), which model, readers and size are also compared with."
    ),
]
LeaveOutSeen = Annotated[
    bool, typer.Option("--leave-out-seen", help="Of patients with the same slices, keep only the first.")
]
IncludeSeen = Annotated[
    bool, typer.Option("--include-seen", help="Keep patients with the same slices; the report says so.")
]
SliceIndex = Annotated[int | None, typer.Option(help="Which slice of a stack, from 0.")]
Spacing = Annotated[
    float | None, typer.Option(help="Pixel spacing in mm, if the model needs it and the image lacks it.")
]


def settings_of(pairs: list[str] | None) -> dict[str, object]:
    """Parse the settings of `--set NAME=VALUE`, each value as JSON if it is JSON, else as text."""
    named = split_pairs(pairs, "--set takes name=value, as beta=0.3")
    return {name: json_or_text(value) for name, value in named.items()}


def split_pairs(pairs: list[str] | None, rule: str) -> dict[str, str]:
    """Split NAME=VALUE options; UserError that begins with `rule` if one has no equals sign."""
    named = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{rule}; {pair!r} has no equals sign.")
        named[name.strip()] = value
    return named


def json_or_text(text: str) -> Any:
    """Parse a value as JSON, or return it as it is if it is not JSON."""
    from lungvae_core.json_text import parse_json

    try:
        return parse_json(text, what="A value")
    except UserError:
        return text


def seen_choice(leave_out: bool, include: bool) -> Seen:
    """Return what to do with seen slices, from --leave-out-seen and --include-seen."""
    if leave_out and include:
        raise UserError("--leave-out-seen and --include-seen exclude each other; choose one.")
    return "leave_out" if leave_out else "include" if include else "refuse"


def open_set(folder: Path) -> SliceSet:
    """Open a data set; report on standard error which table values were read differently than written."""
    from lungvae_core.data.slices import SliceSet

    opened = SliceSet.open(folder)
    for note in opened.notes:
        print(f"Note on {folder}: {note}", file=sys.stderr)
    return opened
