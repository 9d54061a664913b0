"""What all sections are made of: a heading, a table, a value in words; everything is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import Interval

_FIGURE = re.compile(r"^−?[\d.,]+ \(")


def section(name: str, title: str, body: str) -> str:
    return f'<section><h2 id="{name}">{escape(title)}</h2>{body}</section>'


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", numbers: int | None = None
) -> str:
    """A table; columns from `numbers` on are aligned to the right."""

    def kind(index: int) -> str:
        return ' class="n"' if numbers is not None and index >= numbers else ""

    titles = "".join(f"<th{kind(index)}>{escape(name)}</th>" for index, name in enumerate(head))
    lines = "".join(
        f"<tr{' class=model' if row and row[0] == 'The model' else ''}>"
        + "".join(f"<td{kind(index)}>{_cell(cell)}</td>" for index, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{said}<thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _cell(words: str) -> str:
    """A table's cell: a second line is small; a figure stays together with its interval."""
    first, _, second = words.partition("\n")
    said = f"<span class='keep'>{escape(first)}</span>" if _FIGURE.match(first) else escape(first)
    return f"{said}<br><small>{escape(second)}</small>" if second else said


def sentence(said: str, *, capital: bool = True) -> str:
    """Words as an escaped sentence with a full stop."""
    said = said.strip().rstrip(".")
    if capital and said[:1].islower():
        said = said[:1].upper() + said[1:]
    return escape(said + "." if said else said)


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def short(value: Any) -> str:
    """A value of any shape in a few words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(short(inner) for inner in value[:8])
        return shown + (f", … ({len(value)})" if len(value) > 8 else "")
    if isinstance(value, dict):
        if set(value) >= {"value", "low", "high"} and all(
            value[name] is None or isinstance(value[name], int | float) for name in ("value", "low", "high")
        ):
            return words.figure(Interval(value=value["value"], low=value["low"], high=value["high"]))
        return "; ".join(f"{name.replace('_', ' ')} {short(inner)}" for name, inner in value.items())
    return str(value)
