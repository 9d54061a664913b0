"""Write docs/formats.md's tables of columns from their description: python docs/make_columns.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

from lungvae_core.data.columns import MANIFEST, TABLE, Column

TARGET = Path(__file__).resolve().parent / "formats.md"


def text() -> str:
    """The page with both tables as the description has them."""
    page = TARGET.read_text(encoding="utf-8")
    for name, columns in (("table", TABLE), ("manifest", MANIFEST)):
        before, rest = page.split(f"<!-- columns: {name} -->\n")
        _, after = rest.split("<!-- end -->", 1)
        page = f"{before}<!-- columns: {name} -->\n{_rows(columns)}<!-- end -->{after}"
    return page


def _rows(columns: list[Column]) -> str:
    lines = ["| column | meaning | kind | range | belongs to the |", "|---|---|---|---|---|"]
    for column in columns:
        meaning = column.meaning.replace("|", "\\|")
        lines.append(f"| `{column.name}` | {meaning} | {column.kind} | {column.span} | {column.owner} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text(encoding="utf-8") != text())
    TARGET.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
