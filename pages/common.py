"""What every page shares: the model in use, the standing notice, and how a page introduces itself."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from lungvae_core import ATTRIBUTION, NOTICE
from lungvae_core.errors import UserError
from lungvae_core.serving.registry import LoadedModel
from lungvae_core.serving.routes import registry

# Streamlit leaves 6rem free above a page, which a laptop's screen needs for what the page shows.
_STYLE = "<style>[data-testid='stMainBlockContainer'] { padding-top: 3rem; }</style>"


def frame() -> None:
    """The sidebar: standing notice and model picker. The model is in the URL as ?model=name."""
    st.html(_STYLE)
    with st.sidebar:
        st.warning(NOTICE, icon=":material/warning:")
        entries = registry().entries()
        names = [entry.name for entry in entries]
        if names:
            asked = st.query_params.get("model", st.session_state.get("model_name"))
            if asked not in names:
                asked = names[0]
            titles = {entry.name: entry.title for entry in entries}
            chosen = st.selectbox(
                "Model",
                names,
                index=names.index(asked),
                format_func=lambda name: titles[name],
                help="Models that ship with the project, and your own finished runs.",
            )
            st.session_state["model_name"] = chosen
            st.query_params["model"] = chosen
        for folder, reason in registry().broken().items():
            st.error(f"{folder} was left out. {reason}")
        st.caption(f"Shipped models derive from {ATTRIBUTION}.")


def current_model() -> LoadedModel:
    """The picked model, opened; stops the page with a message when there is none or it is damaged."""
    name = st.session_state.get("model_name") or st.query_params.get("model")
    entries = registry().entries()
    if not entries:
        stop("There is no model yet. Train one on the Train page.")
    try:
        return registry().load(name or entries[0].name)
    except UserError as error:
        stop(str(error))


def introduce(title: str, *, shows: str, does_not_mean: str) -> None:
    """A page's title, what it shows, and what that does not mean."""
    st.title(title)
    st.markdown(shows)
    with st.expander("What this does not mean", icon=":material/info:"):
        st.markdown(does_not_mean)


def duration(seconds: float) -> str:
    """A time in words, as "40 s", "12 min" or "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def stop(message: str) -> NoReturn:
    """End the page here with a message for people."""
    st.error(message)
    st.stop()
    raise AssertionError("unreachable")
