"""What every page shares: its frame, its introduction, and faults that stay in their part."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.serving.http.routes import registry
from pages.shared import common
from tests.conftest import ROOT
from tests.pages.conftest import html, open_page, run, text


def test_the_frame_has_the_notice_and_the_picked_model_which_the_address_keeps(models):
    app = open_page("home.py", model="tiny-dirvae")
    assert app.sidebar.warning[0].value == NOTICE
    picker = app.sidebar.selectbox[0]
    assert picker.value == "tiny-dirvae"
    assert set(picker.options) == {"Tiny gvae", "Tiny dirvae"}
    run(picker.set_value("tiny-gvae"))
    assert app.query_params["model"] in ("tiny-gvae", ["tiny-gvae"])


def test_a_model_left_out_is_named_beside_the_others(models, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_MODELS", str(shutil.copytree(models, tmp_path / "copied")))
    (tmp_path / "copied" / "tiny-dirvae" / "config.json").write_text("{")
    registry.cache_clear()
    app = open_page("home.py")
    assert app.sidebar.selectbox[0].options == ["Tiny gvae"]
    assert "tiny-dirvae was left out" in app.sidebar.error[0].value


def test_larger_text_is_in_the_address(models):
    app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=60)
    app.query_params["text"] = "large"
    run(app)
    assert "font-size: 125%" in html(app)
    run(app.sidebar.toggle[0].set_value(False))
    assert "font-size: 125%" not in html(app)
    assert "text" not in app.query_params


def introduced() -> None:
    from pages.shared import common

    common.introduce("Latent map", images="What it shows.", scoring="Not a diagnosis.")


def test_a_page_says_what_it_shows_what_that_does_not_mean_and_how_to_use_it():
    app = run(AppTest.from_function(introduced, default_timeout=60))
    assert app.title[0].value == "Latent map"
    assert [expander.label for expander in app.expander] == [
        "What this does not mean",
        "How to use this page",
    ]
    for said in ("What it shows.", "Not a diagnosis.", "**Point** at a lesion"):
        assert said in text(app)


def contained() -> None:
    import streamlit as st

    from lungvae_core.errors import UserError
    from pages.shared import common

    with common.contained("The table"):
        raise UserError("There is no table.")
    with common.contained("The chart"):
        raise ZeroDivisionError("secret detail")
    st.text("the rest")


def test_a_fault_takes_its_part_of_a_page_and_tells_no_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_FAULTS", str(tmp_path / "faults"))
    app = run(AppTest.from_function(contained, default_timeout=60))
    assert app.error[0].value == "There is no table."
    assert app.error[1].value.startswith("The chart cannot be shown.")
    assert "secret" not in text(app)
    assert app.text[0].value == "the rest"


def test_few_of_many_refused_jobs_are_listed_in_full(models, monkeypatch):
    reasons = [f"Job {number} cannot be used." for number in range(7)]
    table = SimpleNamespace(all=list, refused=lambda: reasons)
    monkeypatch.setattr(common, "Jobs", lambda: table)
    shown: list[str] = []
    monkeypatch.setattr(common.st, "warning", lambda body, icon: shown.append(body))
    assert common.jobs() == []
    [warning] = shown
    assert warning.count("cannot be used") == common.FEW
    assert warning.endswith("And 2 more.")


def named() -> None:
    import streamlit as st

    from pages.shared import common

    st.text(common.current_model().entry.name)


@pytest.mark.parametrize("name", ["nowhere", None])
def test_a_model_that_is_not_there_ends_the_page_with_a_sentence(models, name, monkeypatch, tmp_path):
    if name is None:
        monkeypatch.setenv("LUNGVAE_MODELS", str(tmp_path / "none"))
        registry.cache_clear()

    app = AppTest.from_function(named, default_timeout=60)
    app.session_state["model_name"] = name
    run(app)
    assert not app.text
    assert "There is no model" in app.error[0].value
