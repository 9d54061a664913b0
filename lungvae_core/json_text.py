"""The only reader of JSON, for files, requests, messages and command lines, within bounds.

Use it for all JSON from outside: nesting, size, numbers and text that could stall or crash later code are
refused here with a message. It uses jiter, pydantic's parser.
"""

from __future__ import annotations

import math
import re
from typing import Any

import jiter

from lungvae_core.errors import UserError

MOST_BYTES = 16 << 20  # the largest that the product writes, a report of many subgroups, has less than one MB
MOST_VALUES = 1_000_000  # a value takes up to 30 times its text in memory
LARGEST = 2**63  # integers of more bits fit no array, and their text may be too long to print
# Content that needs a check slower than parsing: long or large numbers, and control characters, as they are
# or escaped.
_SUSPECT = re.compile(rb"[0-9]{19}|[eE]\+?[0-9]{3}|\\u|\x7f|\xc2[\x80-\x9f]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def parse_json(content: bytes | str, *, what: str, most_bytes: int = MOST_BYTES) -> Any:
    """The value of a JSON text in UTF-8; `what` names it in the UserError.

    Refuses more than `most_bytes` or 1,000,000 values, nesting deeper than 200, duplicate keys, NaN,
    infinities and numbers that overflow, integers beyond 64 bits, lone surrogates and control characters
    other than tab and line ends.
    """
    try:
        raw = content.encode() if isinstance(content, str) else content
        if len(raw) > most_bytes:
            raise ValueError(f"it has {len(raw):,} bytes, and {most_bytes:,} are the most")
        if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
        if _SUSPECT.search(raw):
            _check(value)
    except ValueError as error:  # of text that is no UTF-8, too
        reason = _CONTROL.sub("?", str(error)[:200])  # it may quote a name from the text
        raise UserError(f"{what} cannot be read: it is damaged or not JSON ({reason}).") from error
    return value


def plain(value: Any, digits: int | None = None) -> Any:
    """The value as JSON can hold it: NaN and infinities as None, fractions to `digits` significant digits."""
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        value = value.tolist()
    if isinstance(value, dict):
        return {str(name): plain(inner, digits) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, digits) for inner in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    return value


def _check(value: Any) -> None:
    """Raise ValueError for a number or a text that JSON can hold and nothing here can."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(name)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, str):
        if _CONTROL.search(value):
            raise ValueError("a text in it has control characters")
    elif isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError("an integer in it has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is too large")
