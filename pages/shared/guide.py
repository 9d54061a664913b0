"""The pages' texts in guide.md: what each page shows, what that does not mean, and how to use it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("guide.md")


@dataclass(frozen=True)
class Guide:
    """A page's texts, in Markdown; words in braces are values that the page fills in."""

    shows: str
    limits: str
    use: str


@cache
def guides(file: Path) -> dict[str, Guide]:
    """Return the texts by the pages' titles, each paragraph and each item of a list in one line."""
    titles_and_texts = re.split(r"(?m)^# (.*)$", file.read_text(encoding="utf-8"))[1:]
    return {
        title: Guide(*(re.sub(r"\n(?!- )\s*", " ", part.strip()) for part in re.split(r"(?m)^## .*$", text)))
        for title, text in zip(titles_and_texts[::2], titles_and_texts[1::2], strict=True)
    }
