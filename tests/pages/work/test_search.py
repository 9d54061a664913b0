"""The Search page without a browser: its form, its refusals, and what it shows of a search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.jobs.kinds import Search
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.searches import read_search
from lungvae_core.serving.jobs.table import DONE, RUNNING, STOPPED
from lungvae_core.training.search.spaces import SPACES
from lungvae_core.vae.config import preset
from tests.conftest import wait
from tests.pages.conftest import open_page, run, text

TINY = {"width": 4, "dimensions": 4, "batch_size": 32}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, folders: Path, tiny_models: Path) -> None:
    """The two tiny models beside the folders of the test's own."""
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    registry.cache_clear()


def name_field(app: AppTest):
    (field,) = [field for field in app.text_input if field.label == "Name of the search"]
    return field


def test_form_follows_the_space(folders):
    app = open_page("work/search.py")
    assert "Not for clinical use" in text(app)
    assert "What this does not mean" in [expander.label for expander in app.expander]
    assert app.number_input(key="search-epochs").value == preset(SPACES["dirvae"].preset).training.epochs
    assert app.selectbox(key="search-objective").value == "ssim"
    app = run(app.selectbox(key="search-space").select("paper-gvae"))
    assert "of a trial" in app.number_input(key="search-epochs").help.lower()
    assert "Set" in str(app.dataframe[0].value.columns)
    app = run(app.selectbox(key="search-space").select("mlp"))
    assert "search-epochs" not in [field.key for field in app.number_input]
    assert any("Tiny gvae" in option for option in app.selectbox(key="search-source").options)


def test_bad_names_are_sentences_and_start_nothing(folders):
    app = open_page("work/search.py")
    name_field(app).set_value("../up")
    app = run(app.button(key="search-start").click())
    assert "cannot be the name" in app.error[0].value
    assert Jobs().all() == []
    assert not (folders / "runs").exists()


@pytest.mark.long
def test_results_are_shown_with_what_they_mean(folders, searched, monkeypatch):
    monkeypatch.setenv("LUNGVAE_RUNS", str(searched.parent))
    app = open_page("work/search.py")
    said = text(app)
    assert "validation" in said
    assert "optimistic" in said
    assert "set aside" in said
    assert "higher is better" in said
    assert "halted" in said
    assert any("lungvae train --preset gvae" in code.value for code in app.code)
    assert len(app.dataframe[-1].value) == 6
    lines = [each for each in json.loads(app.get("plotly_chart")[0].proto.spec)["data"] if each["x"]]
    assert len(lines) == 6  # a line a trial
    assert all(0 <= height <= 1 for line in lines for height in line["y"])
    assert all(each["type"] == "scatter" for each in lines)  # nothing that needs WebGL
    assert "search" in app.query_params


@pytest.mark.long
def test_start_watch_stop_resume(folders):
    app = open_page("work/search.py")
    app = run(app.selectbox(key="search-space").select("mlp"))
    app.number_input(key="search-trials").set_value(200)
    app.number_input(key="search-folds").set_value(2)
    app.number_input(key="search-test").set_value(0.3)
    name_field(app).set_value("mine")
    app = run(app.button(key="search-start").click())
    (job,) = Jobs().all()
    assert job.kind == Search.kind
    assert "mine" in text(app)
    wait(lambda: (state := read_search(job.folder)) is not None and len(state.table) >= 2)
    assert Jobs().get(job.id).status == RUNNING
    app = open_page("work/search.py")
    assert "trials have ended" in app.get("progress")[0].text
    run(app.button(key=f"search-stop-{job.id}").click())
    wait(lambda: Jobs().get(job.id).status == STOPPED)
    done = len(read_search(job.folder).complete)
    assert 2 <= done < 200
    app = open_page("work/search.py")
    run(app.button(key=f"search-resume-{job.id}").click())
    assert "--resume" in Jobs().get(job.id).argv
    wait(lambda: len(read_search(job.folder).complete) > done)
    Jobs().stop(job.id)
    wait(lambda: Jobs().get(job.id).status in (STOPPED, DONE))
