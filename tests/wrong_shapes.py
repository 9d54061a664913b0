"""JSON that is sound but not what was declared: every place of a value with something else in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]
MISSING = object()
WRONG: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "negative": -1,
    "large": 10**14,
    "fraction": 0.5,
    "text": "x",
    "no text": "",
    "long text": "x" * 3_000,
    "empty list": [],
    "list": [None, "x", {}],
    "deep list": [[[[1]]]],
    "empty object": {},
    "object": {"x": 1, "value": "x"},
}


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every place of a JSON value: all names of objects, but one of objects that are alike, as of lists."""
    yield at
    if isinstance(value, dict):
        seen = set()
        for name, inner in value.items():
            kind = _kind(inner)
            if isinstance(inner, dict | list) and kind in seen:
                continue
            seen.add(kind)
            yield from places(inner, (*at, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def _kind(value: Any) -> str:
    """What values of the same shape have in common."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_kind(inner)}" for name, inner in sorted(value.items())) + "}"
    if isinstance(value, list):
        return f"[{_kind(value[0]) if value else ''}]"
    return type(value).__name__


def replaced(value: Any, at: Place, by: Any) -> Any:
    """A copy of a JSON value with something else in one place, or without it."""
    if not at:
        return None if by is MISSING else by
    changed = copy.deepcopy(value)
    inside = changed
    for part in at[:-1]:
        inside = inside[part]
    if by is MISSING:
        del inside[at[-1]]
    else:
        inside[at[-1]] = by
    return changed


def spelled(at: Place) -> str:
    """A place in words, as "methods.kmeans.count"."""
    return ".".join(map(str, at)) or "all"
