"""Lesion cards: an image from the core's routes and a few words; clicking a card picks its lesion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pages.components.register import register

_COMPONENT = register("lesion_cards", Path(__file__).parent / "cards")


def lesion_cards(
    model: str,
    cards: Sequence[dict[str, Any]],
    *,
    key: str,
    picked: int | None = None,
    smallest: int = 96,
    action: str = "Show this lesion",
    label: str = "Lesions",
) -> int | None:
    """Show cards {"row", "title", "lines", "real"} in a grid; return the row just clicked, or None.

    `picked` is the highlighted row, `smallest` a card's minimum width in pixels, `action` its tooltip, and
    `label` the list's name for screen readers.
    """
    result = _COMPONENT(
        data={
            "api": f"/api/models/{quote(model)}",
            "cards": [dict(card) for card in cards],
            "picked": picked,
            "smallest": smallest,
            "action": action,
            "label": label,
        },
        key=key,
        height="content",
        on_picked_change=lambda: None,
    )
    return result.get("picked")
