"""The exported explorer's file: template, style, script and content in one HTML document."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from lungvae_core.errors import UserError
from lungvae_core.explore.maps import UNITS
from lungvae_core.files import write_text
from lungvae_core.javascript import COMPONENTS, bundle
from lungvae_core.palette import CSS
from lungvae_core.serving.export.gather import Progress, gather
from lungvae_core.serving.models.registry import LoadedModel

MOST_BYTES = 25_000_000
_PAGE = COMPONENTS / "explorer" / "page.html"


def export_explorer(
    model: LoadedModel,
    out: Path,
    *,
    real: bool = False,
    units: tuple[str, ...] = UNITS,
    on_progress: Progress = lambda *_: None,
) -> int:
    """Write the model's explorer to `out` as one HTML file, atomically; return its size in bytes.

    With `real`, the file contains CT slices where this machine has them; by default all images are generated.
    Raises UserError if the file would be larger than 25 MB, or if `gather` lacks something it needs.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file, as explorer.html.")
    document = to_html(gather(model, real=real, units=units, on_progress=on_progress))
    size = len(document.encode())
    if size > MOST_BYTES:
        raise UserError(
            f"The file would be {size / 1e6:.0f} MB; {MOST_BYTES / 1e6:.0f} MB is the most to send around. "
            "Export the nodules alone with --nodules-only."
        )
    write_text(out, document)
    return size


def to_html(content: dict) -> str:
    """The document for the output of `gather`; it loads nothing from elsewhere, whatever the text."""
    # Escaped, "<" cannot end the script early.
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    parts = {
        "TITLE": escape(content["title"]),
        "STYLE": CSS + _PAGE.with_suffix(".css").read_text(encoding="utf-8"),
        "DATA": data,
        "SCRIPT": bundle(_PAGE.with_suffix(".js")),
    }
    pieces = _PAGE.read_text(encoding="utf-8").split("@@")
    # Odd pieces are names; content that contains "@@" is not split again.
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
