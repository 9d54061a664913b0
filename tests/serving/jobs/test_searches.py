"""Searches: found in the runs folder, and read while they run and afterwards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.searches import SearchState, find_searches, read_search
from lungvae_core.training.search.book import COMPLETE
from lungvae_core.training.search.setup import make
from lungvae_core.training.search.spaces import space


@pytest.mark.long
def test_a_search_is_read_as_it_is(job_folders, searched, monkeypatch, tmp_path):
    monkeypatch.setenv("LUNGVAE_RUNS", str(searched.parent))
    assert find_searches() == [searched]
    state = read_search(searched)
    assert state is not None
    best = state.best_so_far()
    assert best["best"].is_monotonic_increasing
    assert state.complete["value"].iloc[0] == best["best"].iloc[-1]
    assert state.progress["done"] == 6
    assert set(state.searched) == set(state.config.parameters)
    assert all(0 <= state.association(name) <= 1 for name in state.searched)
    assert state.command()[:2] == ["lungvae", "train"]
    assert read_search(tmp_path) is None
    for name, content, said in (
        ("search.json", "{}", "damaged"),
        ("trials.csv", "a,b\n1,2\n", "lacks columns"),
    ):
        folder = tmp_path / f"broken-{name}"
        folder.mkdir()
        for path in searched.glob("*.*"):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_text(content)
        with pytest.raises(UserError, match=said):
            read_search(folder)


def state(values: list[float], **columns: list) -> SearchState:
    """A finished search made up, of trials with these values."""
    config = make(space("gvae"), "/nowhere", trials=4, objective="ssim")
    parameters = dict.fromkeys(columns, config.parameters["beta"])
    table = pd.DataFrame({"number": range(len(values)), "state": COMPLETE, "value": values, **columns})
    return SearchState(Path("mine"), config.model_copy(update={"parameters": parameters}), table, {}, None)


def test_the_setting_that_the_value_follows_comes_first():
    search = state([1, 2, 3, 4], none=[1, 1, 1, 1], up=[1, 2, 3, 4], words=["b", "b", "a", "a"])
    assert search.association("up") == pytest.approx(1)
    assert search.association("none") == 0  # it never changed
    assert 0.8 < search.association("words") < 1
    assert search.searched == ["up", "words", "none"]
    assert search.association("nowhere") == 0


def test_of_too_few_trials_nothing_is_said():
    assert state([1, 2], up=[1, 2]).association("up") == 0
    empty = state([])
    assert empty.command() == []
    assert empty.best_so_far().empty
    assert "higher is better" in empty.objective


def test_there_is_no_search_where_there_is_no_folder(job_folders, tmp_path):
    assert find_searches() == []
    assert read_search(tmp_path / "nowhere") is None
