"""Choices that belong in the address, so that a link shows another person the same page.

What an address holds is understood by `lungvae_core.parameters`. What cannot be understood is told in a
sentence, and the page shows what it would show without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import streamlit as st

from lungvae_core import parameters
from lungvae_core.errors import UserError
from lungvae_core.parameters import ParameterError

Key = TypeVar("Key")
Value = TypeVar("Value")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-!|$~:])")


def sent(name: str) -> str:
    """The address's parameter as it was sent, to be understood at once; empty where it is absent.

    One that was sent twice is told, and counts as absent: one of the two would be passed over in silence.
    """
    try:
        return parameters.once(name, st.query_params.get_all(name))
    except ParameterError as error:
        say(error)
        return ""


def read(name: str, understand: Callable[[str, str], Value]) -> Value | None:
    """The address's parameter as `understand(name, value)` has it; None where it is absent or was refused."""
    value = sent(name)
    if not value:
        return None
    try:
        return understand(name, value)
    except ParameterError as error:
        if (
            _written().get(name) != value
        ):  # else the model was changed, and the address is still the last one's
            say(error)
        return None


def integer(name: str, low: int, high: int) -> int | None:
    """The address's parameter as a whole number from `low` to `high`."""
    return read(name, lambda name, value: parameters.integer(name, value, low, high))


def choice(name: str, options: Collection[str]) -> str | None:
    """The address's parameter as one of `options`."""
    return read(name, lambda name, value: parameters.choice(name, value, options))


def pairs(
    name: str, most: int, understand: Callable[[str, str], tuple[Key, Value]], *, longest: int
) -> dict[Key, Value]:
    """The address's "key:value,key:value" as `understand(key, value)` has each; refused ones are left out."""
    found: dict[Key, Value] = {}

    def parts(name: str, text: str) -> None:
        refused: list[ParameterError] = []
        for part in parameters.items(name, text, most, longest=longest):
            key, _, value = part.partition(":")
            try:
                found.update([understand(key, value)])
            except ParameterError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    read(name, parts)
    return found


def plain(text: str) -> str:
    """A text as Markdown that shows it letter by letter, without links of its writer."""
    return _MARKDOWN.sub(r"\\\1", text)


def say(error: UserError) -> None:
    """Tell what of an address could not be used; its text is shown as text, without links of its writer."""
    st.toast(plain(str(error)), icon=":material/warning:", duration="long")


def start(name: str, options: Iterable[str], *, key: str) -> None:
    """Give the widget `key` its first value: from the address, else what was chosen last, else the first."""
    options = list(options)
    if st.session_state.get(key) not in options:
        candidates = (choice(name, options), st.session_state.get(f"last_{key}"), options[0])
        st.session_state[key] = next(value for value in candidates if value in options)


def keep(name: str, *, key: str) -> str:
    """The widget's value, written to the address and remembered for when the page is opened again."""
    value: str = st.session_state[key]
    st.session_state[f"last_{key}"] = value
    write(name, value)
    return value


def segmented(name: str, label: str, options: Iterable[str], *, key: str, **look: Any) -> str:
    """A row of buttons, one of them pressed, which the address has as `name`.

    A mapping's options are shown by its values; `look` are further arguments of `st.segmented_control`.
    """
    start(name, options, key=key)
    st.segmented_control(label, list(options), required=True, key=key, **_shown(options), **look)
    return keep(name, key=key)


def selectbox(name: str, label: str, options: Iterable[str], *, key: str, **look: Any) -> str:
    """A select box which the address has as `name`; else as `segmented`."""
    start(name, options, key=key)
    st.selectbox(label, list(options), key=key, **_shown(options), **look)
    return keep(name, key=key)


def _shown(options: Iterable[str]) -> dict[str, Any]:
    return {"format_func": options.__getitem__} if isinstance(options, Mapping) else {}


def write(name: str, value: str | None) -> None:
    """Write a value to the address, or take it out; one that is there already is no step in the history."""
    _written()[name] = value
    if value is None:
        if name in st.query_params:
            del st.query_params[name]
    elif st.query_params.get_all(name) != [value]:
        st.query_params[name] = value


def replace(names: Collection[str], values: dict[str, str]) -> None:
    """Have the address hold `values` in place of all parameters of `names`, as one step in the history."""
    before = st.query_params.to_dict()
    after = {name: value for name, value in before.items() if name not in names} | values
    _written().update({name: values.get(name) for name in names})
    if after != before:
        st.query_params.from_dict(after)


def _written() -> dict[str, str | None]:
    """What the pages themselves wrote to the address last, by parameter."""
    return st.session_state.setdefault("address_written", {})
