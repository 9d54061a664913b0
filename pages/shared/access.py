"""Who uses the page: the sign-in page before everything else, and what a viewer may not do."""

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

WORK = "start, stop or resume work"
DELETE = "delete or replace saved data"


def person() -> Person:
    """Whoever this tab speaks for, judged anew at each call: sessions end."""
    return current().person(st.context.cookies)


def gate() -> None:
    """Ask for the sign-in and end the script here, where one is needed; else say who is signed in."""
    who = person()
    if who.role is None:
        _ask(who)
        st.stop()
    if who.until is None:
        return
    with st.sidebar:
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.caption(f"{_plain(who.name)}, {who.role_name}")
        if right.button("Sign out", key="access-sign-out", type="tertiary"):
            st.logout()
    _wait(who.until)


@contextmanager
def acting() -> Iterator[None]:
    """Do within what every signed-in person may do, under that person's name in the audit log."""
    who = person()
    if who.role is None:
        raise UserError(who.reason)
    with audit.acting(who.name):
        yield


@contextmanager
def allowed(what: str) -> Iterator[None]:
    """Do within what only researchers may do (`WORK`, `DELETE`); UserError for everybody else.

    The audit log then has the person's name.
    """
    who = person()
    if who.role is None:
        raise UserError(who.reason)
    if who.role < Role.RESEARCHER:
        audit.record(Settings(), audit.REFUSED, what, who=who.name)
        raise UserError(
            f"Only researchers may {what}, and you are a viewer. Ask the person who runs this server."
        )
    with audit.acting(who.name):
        yield


def _ask(who: Person) -> None:
    """Say why the page ends here, with a link that opens the server's own sign-in page.

    Nobody gets a socket for this page without a session; so the session has ended while the page was open.
    """
    # Without the icon: a picture of the app's own is for people who have signed in.
    st.set_page_config(page_title="Lung lesion explorer: sign in")
    st.title("Lung lesion explorer")
    st.warning(NOTICE, icon=":material/warning:")
    (st.error if who.name else st.markdown)(_plain(who.reason) if who.name else who.reason)
    # A link and not a button: it leads on when the connection has ended with the session.
    st.html('<a href="/" target="_self">Sign in again</a>')


def _wait(until: float) -> None:
    """Run the page again when the session has ended, so that a tab that nobody touches says so too."""

    @st.fragment(run_every=max(1.0, until - time.time() + 0.5))
    def watch() -> None:
        if time.time() >= until:
            st.rerun()

    watch()


def _plain(text: str) -> str:
    """Words from elsewhere with nothing that Markdown would take for its own."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-!|~$:" else letter for letter in text)
