"""The frame around every page: the navigation, and who is let in."""

from __future__ import annotations

import re

from streamlit.testing.v1 import AppTest

from lungvae_core.serving.workspace.access import Person
from tests.conftest import ROOT
from tests.pages.conftest import html, run, text

SHELL = ROOT / "pages" / "shell.py"
PARTS = re.compile(r"_page\(\s*\"([^\"]+)\"")


def test_every_script_with_a_title_is_in_the_navigation():
    listed = set(PARTS.findall(SHELL.read_text(encoding="utf-8")))
    introduced = {
        str(path.relative_to(ROOT / "pages"))
        for path in (ROOT / "pages").rglob("*.py")
        if "common.introduce(" in path.read_text(encoding="utf-8")
    }
    assert listed == introduced | {"home.py"}
    assert all((ROOT / "pages" / name).is_file() for name in listed)


def test_it_opens_at_home_with_the_frame(models):
    app = run(AppTest.from_file(str(SHELL), default_timeout=60))
    assert "Not for clinical use" in app.sidebar.warning[0].value
    assert app.title[0].value == "Lung lesion explorer"


def test_who_is_not_let_in_sees_no_page_and_no_model(models, monkeypatch):
    monkeypatch.setattr("pages.shared.access.person", lambda: Person("", None, "Sign in to go on."))
    app = run(AppTest.from_file(str(SHELL), default_timeout=60))
    assert "Sign in to go on." in text(app)
    assert "Sign in again" in html(app)
    assert not app.sidebar.selectbox
    assert "Tiny gvae" not in text(app)
