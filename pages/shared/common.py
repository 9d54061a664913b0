"""What every page shares: the model in use, the standing notice, and how a page introduces itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

from lungvae_core import ATTRIBUTION, NOTICE, faults
from lungvae_core.errors import UserError
from lungvae_core.palette import CSS
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import Job
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import guide, tour, url

_STYLE = CSS + Path(__file__).with_name("pages.css").read_text(encoding="utf-8")
FEW = 5  # reasons that are given in full
_LARGER = "<style>html {font-size: 125% !important}</style>"  # everything is measured in rem


def frame(page: str) -> None:
    """Draw the frame around `page` (its path in the address): notice, model, text size, the tour.

    The address has the model as ?model=name and larger text as ?text=large.
    """
    st.html(f"<style>{_STYLE}</style>")
    with st.sidebar:
        with st.container(key="sidebar_notice"):
            st.warning(NOTICE, icon=":material/warning:")
        titles = {entry.name: entry.title for entry in registry().entries()}
        if titles:
            names = list(titles)
            current = url.choice("model", names) or st.session_state.get("model_name")
            name = st.selectbox(
                "Model",
                names,
                index=names.index(current) if current in names else 0,
                format_func=titles.__getitem__,
                help="Models that ship with the project, and your own finished runs.",
            )
            st.session_state["model_name"] = name
            url.write("model", name)
        for folder, reason in registry().broken().items():
            st.error(f"{folder} was left out. {reason}")
        _text_size()
        st.caption(f"Shipped models derive from {ATTRIBUTION}.")
    tour.banner(page)


def _text_size() -> None:
    """Draw the switch for larger text, for projectors and for people who need it."""
    if "larger_text" not in st.session_state:
        st.session_state["larger_text"] = url.choice("text", ("large",)) == "large"
    larger = st.toggle(
        "Larger text", key="larger_text", help="For a projector. Light or dark: the menu at the top right."
    )
    url.write("text", "large" if larger else None)
    if larger:
        st.html(_LARGER)


def current_model(*, again: bool = False) -> LoadedModel:
    """Open the picked model; stop the page with a message if there is none or it is damaged.

    The page lists unusable parts of the model's table, except when called `again`.
    """
    name = st.session_state.get("model_name")
    entries = registry().entries()
    if not entries:
        stop("There is no model yet. Train one on the Train page.")
    try:
        model = registry().load(name or entries[0].name)
    except UserError as error:
        stop(str(error))
    for note in [] if again else model.notes:
        st.caption(f":material/info: {url.plain(note)}")
    return model


def jobs() -> list[Job]:
    """List the workspace's jobs, newest first; the page says why any others are unusable.

    Stops the page with a message if the database cannot be read.
    """
    table = Jobs()
    try:
        usable, refused = table.all(), table.refused()
    except UserError as error:
        stop(str(error))
    if refused:
        more = f"\n\nAnd {len(refused) - FEW:,} more." if len(refused) > FEW else ""
        st.warning("\n\n".join(map(url.plain, refused[:FEW])) + more, icon=":material/block:")
    return usable


def introduce(title: str, **values: str) -> None:
    """Introduce a page with its texts of guide.md, in which `values` replace the names in braces."""
    text = guide.guides(guide.FILE)[title]
    heading, limits, how = st.columns([1.3, 1, 1], gap="small", vertical_alignment="center")
    heading.title(title, anchor=False)
    with limits.expander(
        "What this does not mean", icon=":material/info:", type="compact", expanded=tour.tells_limits(title)
    ):
        st.markdown(text.limits.format(**values))
    with how.expander("How to use this page", icon=":material/help:", type="compact"):
        st.markdown(text.use)
    st.markdown(text.shows.format(**values))


@contextlib.contextmanager
def contained(what: str) -> Iterator[None]:
    """Contain faults in one part of a page, named by `what`: a sentence replaces it, the rest goes on."""
    try:
        yield
    except UserError as error:
        st.error(str(error))
    except Exception:
        st.error(f"{what} cannot be shown. {faults.record()}")


def segmented(label: str, options: Mapping[str, str], **look: Any) -> str:
    """Draw a row of buttons (value -> label) with one pressed, the first at first; the address has it not."""
    return st.segmented_control(
        label,
        list(options),
        format_func=options.__getitem__,
        default=next(iter(options)),
        required=True,
        **look,
    )


def walk(model: LoadedModel, **where: int) -> None:
    """Go to the Traversal page, `where` in the address: a `row` to start from, or a `dimension`."""
    query = {name: str(value) for name, value in where.items()}
    st.switch_page("traversal/traversal.py", query_params={"model": model.entry.name, **query})


def compact() -> None:
    """Reduce the page's margins, so that a map or an image fits on a laptop's screen."""
    st.html(
        "<style>[data-testid='stMainBlockContainer'] {padding: 2.2rem 2.5rem 3rem}"
        " [data-testid='stMainBlockContainer'] h1 {padding: 0.4rem 0; font-size: 2rem}</style>"
    )


def stop(message: str) -> NoReturn:
    """End the page here with a message for the user."""
    st.error(message)
    st.stop()
