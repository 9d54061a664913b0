"""Write docs/formats.md's tables of columns from their description: python docs/make_columns.py [--check]."""

from __future__ import annotations

from generated import filled, read, write

from lungvae_core.data.columns import MANIFEST, TABLE, Column

PAGE = "formats.md"


def text() -> str:
    """The page with both tables as the description has them."""
    page = filled(read(PAGE), "columns: table", _rows(TABLE))
    return filled(page, "columns: manifest", _rows(MANIFEST))


def _rows(columns: list[Column]) -> str:
    lines = ["| column | meaning | kind | range | belongs to the |", "|---|---|---|---|---|"]
    for column in columns:
        meaning = column.meaning.replace("|", "\\|")
        lines.append(f"| `{column.name}` | {meaning} | {column.kind} | {column.span} | {column.owner} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(PAGE, text())
