"""Access to pages: the sign-in page that comes first, and the limits of viewers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from lungvae_core import NOTICE
from lungvae_core.errors import UserError
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import Person, Role, current
from lungvae_core.serving.workspace.settings import Settings
from pages.shared.url import plain

WORK = "start, stop or resume work"
DELETE = "delete or replace saved data"


def person() -> Person:
    """Return this tab's user, checked at each call because sessions end."""
    return current().person(st.context.cookies)


def gate() -> None:
    """Ask for a sign-in and end the script here if one is needed; otherwise show who is signed in."""
    who = person()
    if who.role is None:
        _ask(who)
        st.stop()
    if who.until is None:
        return
    with st.sidebar:
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.caption(f"{plain(who.name)}, {who.role_name}")
        if right.button("Sign out", key="access-sign-out", type="tertiary"):
            st.logout()
    _wait(who.until)


@contextmanager
def acting() -> Iterator[None]:
    """Run the block as the signed-in user, whose name goes into the audit log."""
    who = person()
    if who.role is None:
        raise UserError(who.reason)
    with audit.acting(who.name):
        yield


@contextmanager
def allowed(what: str) -> Iterator[None]:
    """Run the block with a right that only researchers have (`WORK`, `DELETE`); UserError for all others.

    The audit log records the user's name.
    """
    who = person()
    if who.role is not None and who.role < Role.RESEARCHER:
        audit.record(Settings(), audit.REFUSED, what, who=who.name)
        raise UserError(
            f"Only researchers may {what}, and you are a viewer. Ask the person who runs this server."
        )
    with acting():
        yield


def _ask(who: Person) -> None:
    """Say why the page ends here, with a link to the server's sign-in page.

    A socket for this page requires a session, so the session must have ended while the page was open.
    """
    # No icon: the app's own images are only for people who have signed in.
    st.set_page_config(page_title="Lung lesion explorer: sign in")
    st.title("Lung lesion explorer")
    st.warning(NOTICE, icon=":material/warning:")
    (st.error if who.name else st.markdown)(plain(who.reason) if who.name else who.reason)
    # A link and not a button: it still works when the connection has ended with the session.
    st.html('<a href="/" target="_self">Sign in again</a>')


def _wait(until: float) -> None:
    """Rerun the page when the session ends, so that an idle tab says so too."""

    @st.fragment(run_every=max(1.0, until - time.time() + 0.5))
    def watch() -> None:
        if time.time() >= until:
            st.rerun()

    watch()
