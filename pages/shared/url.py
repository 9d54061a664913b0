"""Choices that are kept in the address, so that a link shows other people the same page.

`lungvae_core.parameters` parses the address. A sentence reports each parameter that cannot be parsed, and the
page then ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import streamlit as st

from lungvae_core import parameters
from lungvae_core.errors import UserError
from lungvae_core.parameters import ParameterError
from lungvae_core.serving.models.registry import LoadedModel

Key = TypeVar("Key")
Value = TypeVar("Value")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-!|$~:]|(?<=\d)\.(?=\s))")  # the last one begins a list


def sent(name: str) -> str:
    """Return a parameter of the address as it was sent, to parse at once; empty if it is absent.

    A parameter sent twice is reported and counts as absent: otherwise one value would be dropped silently.
    """
    try:
        return parameters.once(name, st.query_params.get_all(name))
    except ParameterError as error:
        say(error)
        return ""


def read(name: str, understand: Callable[[str, str], Value]) -> Value | None:
    """Parse a parameter of the address with `understand(name, value)`; None if it is absent or refused."""
    value = sent(name)
    if not value:
        return None
    try:
        return understand(name, value)
    except ParameterError as error:
        # Otherwise the model has changed, and the address is still the old one's.
        if _written().get(name) != value:
            say(error)
        return None


def integer(name: str, low: int, high: int) -> int | None:
    """Parse a parameter of the address as a whole number from `low` to `high`."""
    return read(name, lambda name, value: parameters.integer(name, value, low, high))


def row(model: LoadedModel, name: str = "row") -> int | None:
    """Parse a parameter of the address as a row of the model's table."""
    return integer(name, 0, len(model.codes) - 1)


def choice(name: str, options: Collection[str]) -> str | None:
    """Parse a parameter of the address as one of `options`."""
    return read(name, lambda name, value: parameters.choice(name, value, options))


def pairs(
    name: str, most: int, understand: Callable[[str, str], tuple[Key, Value]], *, longest: int
) -> dict[Key, Value]:
    """Parse "key:value,key:value" in the address with `understand(key, value)`; leave out refused pairs."""
    parsed: dict[Key, Value] = {}

    def parts(name: str, text: str) -> None:
        refused: list[ParameterError] = []
        for part in parameters.items(name, text, most, longest=longest):
            key, _, value = part.partition(":")
            try:
                parsed.update([understand(key, value)])
            except ParameterError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    read(name, parts)
    return parsed


def plain(text: str) -> str:
    """Escape a text so that Markdown shows it literally, without links from its author."""
    return _MARKDOWN.sub(r"\\\1", text)


def say(error: UserError) -> None:
    """Report an unusable part of the address; its text is shown literally, without links from its author."""
    st.toast(plain(str(error)), icon=":material/warning:", duration="long")


def start(name: str, options: Iterable[str], *, key: str) -> None:
    """Give the widget `key` its initial value: from the address, else the last choice, else the first."""
    options = list(options)
    if st.session_state.get(key) not in options:
        candidates = (choice(name, options), st.session_state.get(f"last_{key}"), options[0])
        st.session_state[key] = next(value for value in candidates if value in options)


def keep(name: str, *, key: str, unless: str | None = None) -> str:
    """Return the widget's value, remember it for the next visit, and write it to the address.

    The address has no parameter for the value `unless`.
    """
    value: str = st.session_state[key]
    st.session_state[f"last_{key}"] = value
    write(name, None if value == unless else value)
    return value


def segmented(name: str, label: str, options: Iterable[str], *, key: str, **look: Any) -> str:
    """Draw a row of buttons with one pressed; the address keeps it as `name`.

    If `options` is a mapping, its values are the labels; `look` goes to `st.segmented_control`.
    """
    start(name, options, key=key)
    st.segmented_control(label, list(options), required=True, key=key, **_shown(options), **look)
    return keep(name, key=key)


def selectbox(name: str, label: str, options: Iterable[str], *, key: str, **look: Any) -> str:
    """Draw a select box, kept in the address as `name`; otherwise like `segmented`."""
    start(name, options, key=key)
    st.selectbox(label, list(options), key=key, **_shown(options), **look)
    return keep(name, key=key)


def _shown(options: Iterable[str]) -> dict[str, Any]:
    return {"format_func": options.__getitem__} if isinstance(options, Mapping) else {}


def write(name: str, value: str | None) -> None:
    """Write a value to the address or remove it; an unchanged value adds no step to the history."""
    _written()[name] = value
    if value is None:
        if name in st.query_params:
            del st.query_params[name]
    elif st.query_params.get_all(name) != [value]:
        st.query_params[name] = value


def replace(names: Collection[str], values: dict[str, str]) -> None:
    """Replace all parameters in `names` by `values` in the address, as one step in the history."""
    before = st.query_params.to_dict()
    after = {name: value for name, value in before.items() if name not in names} | values
    _written().update({name: values.get(name) for name in names})
    if after != before:
        st.query_params.from_dict(after)


def _written() -> dict[str, str | None]:
    """Return what the pages themselves last wrote to the address, by parameter."""
    return st.session_state.setdefault("address_written", {})
