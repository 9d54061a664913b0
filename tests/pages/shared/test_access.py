"""Access to pages: who may do what, and what the log says of it."""

from __future__ import annotations

import time

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.errors import UserError
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import Person, Role
from lungvae_core.serving.workspace.settings import Settings
from pages.shared import access
from tests.pages.conftest import html, run, text

NOBODY = Person("", None, "Sign in first.")
VIEWER, RESEARCHER = Person("v@b.org", Role.VIEWER), Person("r@b.org", Role.RESEARCHER)


@pytest.fixture
def as_(tmp_path, monkeypatch):
    """as_(person) makes that person the page's user."""
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    return lambda person: monkeypatch.setattr(access, "person", lambda: person)


def test_a_researcher_acts_in_their_own_name(as_):
    as_(RESEARCHER)
    with access.allowed(access.WORK):
        audit.record(Settings(), audit.DELETE, "x")
    assert audit.read(Settings())[0].who == "r@b.org"


def test_a_viewer_is_refused_and_that_is_on_record(as_):
    as_(VIEWER)
    with pytest.raises(UserError, match="Only researchers may delete"), access.allowed(access.DELETE):
        pytest.fail("it was allowed")
    line = audit.read(Settings())[0]
    assert (line.who, line.what, line.detail) == ("v@b.org", audit.REFUSED, access.DELETE)
    with access.acting():  # what everybody may do
        audit.record(Settings(), audit.UPLOAD, "1 file")
    assert audit.read(Settings(), what=audit.UPLOAD)[0].who == "v@b.org"


@pytest.mark.parametrize("block", [access.acting, lambda: access.allowed(access.WORK)])
def test_who_has_not_signed_in_does_nothing(as_, block):
    as_(NOBODY)
    with pytest.raises(UserError, match="Sign in first"), block():
        pytest.fail("it was allowed")
    assert audit.read(Settings()) == []


def gated() -> None:
    import streamlit as st

    from pages.shared import access

    access.gate()
    st.text("the page")


@pytest.mark.parametrize("person", [NOBODY, Person("x*y@b.org", None, "x*y@b.org is not on the list.")])
def test_the_page_ends_with_the_reason_for_who_has_no_role(as_, person):
    as_(person)
    app = run(AppTest.from_function(gated, default_timeout=60))
    assert not app.text
    assert "Sign in again" in html(app)
    assert person.reason in text(app).replace("\\", "")


def test_who_is_signed_in_is_named_with_a_way_out(as_):
    as_(Person("r@b.org", Role.RESEARCHER, until=time.time() + 3600))
    app = run(AppTest.from_function(gated, default_timeout=60))
    assert app.text[0].value == "the page"
    assert app.sidebar.caption[0].value.replace("\\", "") == "r@b.org, researcher"
    assert app.sidebar.button[0].label == "Sign out"
