"""Widgets for settings, with the labels and bounds of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lungvae_core.serving.jobs.form import Setting, devices
from lungvae_core.serving.workspace.datasets import FoundData, find_data
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.vae.config import PRESETS
from lungvae_core.workers import cores

ONE_LEFT = "One core is left to this app unless you say otherwise."


def data_sets() -> list[FoundData]:
    """List the data sets of this server; the page says why others are left out."""
    usable, broken = find_data(Settings())
    for name, reason in broken.items():
        st.warning(f"The data set {name} was left out. {reason}")
    return usable


def preset(column: DeltaGenerator, key: str, help: str | None = None) -> str:
    """Draw the select box of presets."""
    return column.selectbox("Preset", list(PRESETS), list(PRESETS).index("dirvae"), key=key, help=help)


def show(column: DeltaGenerator, setting: Setting, key: str) -> None:
    """Draw the widget of one setting."""
    label, choices, default = setting.label, setting.choices, setting.default
    look: dict[str, Any] = {"key": key, "help": setting.help}
    if setting.kind == "choice":
        column.selectbox(label, choices, choices.index(default), format_func=setting.choice_words, **look)
    elif setting.kind == "several":
        column.multiselect(label, choices, default, **look)
    elif setting.kind == "switch":
        column.toggle(label, default, **look)
    else:
        number = int if setting.kind == "whole" else float
        low, high = (None if end is None else number(end) for end in (setting.minimum, setting.maximum))
        look |= {"step": number(setting.step), "format": "%d" if number is int else "%g"}
        column.number_input(label, low, high, number(default), **look)


def described(column: DeltaGenerator, label: str, options: Mapping[str, str], key: str, **named: Any) -> str:
    """Draw the select box of options that are shown as "name: description"."""
    return column.selectbox(
        label, list(options), key=key, format_func=lambda name: f"{name}: {options[name]}", **named
    )


def device(column: DeltaGenerator, key: str) -> None:
    """Where a job computes."""
    column.selectbox("Device", devices(), key=key)


def cores_used(column: DeltaGenerator, label: str, key: str, help: str) -> None:
    """How many of this machine's cores a job takes: all but one, unless changed."""
    column.number_input(label, 1, cores(), max(1, cores() - 1), key=key, help=help)


def start_row(
    what: str,
    work: str,
    prefix: str,
    name: str,
    start: Callable[..., None],
    *args: str,
    help: str | None = None,
) -> None:
    """The name of `what`, and the button that starts `work`.

    The button calls `start` with `args` and the key of the name. `prefix` is that of the widget keys, `name`
    the suggested name.
    """
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    # A new suggestion creates a new field: after a start it holds the next name.
    key = f"{prefix}-name-{name}"
    left.text_input(f"Name of the {what}", name, key=key, help=help)
    right.form_submit_button(
        f"Start {work}",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        on_click=start,
        args=(*args, key),
        key=f"{prefix}-start",
    )
