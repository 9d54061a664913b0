"""Shared by the scripts that generate pages of this folder, or tables in them, from the code."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def filled(text: str, mark: str, made: str) -> str:
    """A page's text with `made` between the line <!-- mark --> and the <!-- end --> that follows it."""
    before, rest = text.split(f"<!-- {mark} -->\n")
    _, after = rest.split("<!-- end -->", 1)
    return f"{before}<!-- {mark} -->\n{made}<!-- end -->{after}"


def write(page: str, text: str) -> None:
    """Write a page; with --check the exit code only says whether it is out of date."""
    if "--check" in sys.argv:
        sys.exit(read(page) != text)
    (DOCS / page).write_text(text, encoding="utf-8")
