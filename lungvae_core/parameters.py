"""Parameters of addresses, which are untrusted input: each is parsed here, within bounds, or refused.

Routes, the live view, filters and pages use only these functions. Numbers are in ASCII digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from lungvae_core.errors import UserError

LARGEST = 1e15  # of numbers without a narrower bound; float64 holds whole numbers up to here
LONGEST = 4_000  # characters of text
LONGEST_NAME = 1_000  # of what lists show: titles of models, names of data sets
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")


class ParameterError(UserError):
    """An invalid parameter; the message names it and the allowed values."""


def integer(name: str, value: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if _INTEGER.fullmatch(value) and low <= int(value) <= high:
        return int(value)
    raise ParameterError(f"{name} is {shown(value)}; it must be a whole number from {low} to {high}.")


def number(name: str, value: str, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A finite number from `low` to `high`, as "2", "-0.5" or "1e-3"."""
    if _NUMBER.fullmatch(value) and low <= float(value) <= high:
        return float(value) + 0.0  # no -0.0, which would be a spelling of its own
    raise ParameterError(f"{name} is {shown(value)}; it must be a number from {low:g} to {high:g}.")


def finite(name: str, value: Any, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A number from JSON, from `low` to `high`; not true or false."""
    # Compared before it is converted: float() raises for whole numbers of hundreds of digits.
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return float(value) + 0.0
    raise ParameterError(f"{name} is not a number from {low:g} to {high:g}.")


def choice(name: str, value: str, options: Collection[str]) -> str:
    """One of `options`."""
    if value in options:
        return value
    few = [str(option)[:40] for option in options][:12]
    more = ", ..." if len(options) > len(few) else ""
    raise ParameterError(f"{name} is {shown(value)}; it must be one of {', '.join(few)}{more}.")


def text(name: str, value: Any, longest: int = LONGEST) -> str:
    """Text of at most `longest` characters that can be shown, stored and sent: no control characters."""
    if not isinstance(value, str):
        raise ParameterError(f"{name} must be text.")
    if len(value) > longest:
        raise ParameterError(f"{name} has {len(value):,} characters; {longest:,} are the most.")
    # Surrogates cannot be sent at all; a NUL ends a text for half of what it would be handed to.
    if any(letter < " " or "\x7f" <= letter <= "\x9f" or "\ud800" <= letter <= "\udfff" for letter in value):
        raise ParameterError(f"{name} has characters that are no text, as {shown(value)}.")
    return value


def items(name: str, value: str, most: int, *, longest: int = LONGEST) -> list[str]:
    """The parts of a text between commas, at most `most`; none for an empty text."""
    parts = text(name, value, longest).split(",") if value else []
    if len(parts) > most:
        raise ParameterError(f"{name} has {len(parts):,} parts; {most:,} are the most.")
    return parts


def hex_key(name: str, value: str, length: int) -> str:
    """A key of `length` digits 0 to 9 and a to f."""
    if len(value) == length and not value.strip("0123456789abcdef"):
        return value
    raise ParameterError(f"{name} is {shown(value)}; it must be a key of {length} digits 0 to 9 and a to f.")


def once(name: str, values: Sequence[str], default: str = "") -> str:
    """The only value sent under a name; `default` if there is none."""
    if len(values) > 1:
        raise ParameterError(f"{name} is given {len(values):,} times; give it once.")
    return values[0] if values else default


def shown(value: object) -> str:
    """A value as quoted in a message: short, and printable characters only."""
    whole = str(value)[:41]
    return repr(printable(whole if len(whole) <= 40 else f"{whole[:39]}…", 40))


def printable(value: str, most: int | None = None) -> str:
    """At most `most` characters of a text on one line; a mark replaces unprintable ones."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:most])


class Query:
    """The parameters of one request; unused ones are ignored."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """A raw parameter, to be parsed by one of this module's functions at once.

        Raises ParameterError if it was sent twice, since one of the two would be ignored.
        """
        return once(name, self._values.get(name, []), default)

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        """One of `options`; `default` if it was not sent."""
        return choice(name, self.get(name, default), options)
