"""A search proposes, halves, stops, dies and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.search import spaces
from lungvae_core.training.search.book import COMPLETE, HALTED, Book
from lungvae_core.training.search.run import Event, search
from lungvae_core.training.search.setup import make, open_search, split, winner
from lungvae_core.training.search.spaces import narrowed, space
from tests.conftest import ROOT
from tests.training.search.conftest import TINY


def events(into: list[Event]) -> dict:
    return {"device": "cpu", "on_event": into.append}


@pytest.mark.long
def test_a_search_from_end_to_end(config: Callable, tiny_data: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    asked = config(objective="auc", folds=2, trials=2)
    book, finished = search(asked, tmp_path / "s", workers=2, **events(seen))
    assert finished
    assert [event.what for event in seen] == [COMPLETE] * 2
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert list(table["number"]) == [0, 1]
    np.testing.assert_allclose(table["value"], table[["fold_1", "fold_2"]].mean(axis=1))
    assert set(asked.parameters) <= set(table.columns)
    assert (table["seconds"] > 0).all()
    assert (table["where"].str.len() > 0).all()
    # Each fold was trained on its own patients, and the patients set aside were in neither part.
    data = SliceSet.open(tiny_data)
    parts = split(data.table, asked)
    of = data.table["patient_id"].to_numpy()
    best = book.best()[0]
    for number, (train, validation) in enumerate(parts.folds, 1):
        run = Run.open(tmp_path / "s" / "trials" / f"{best.number:04d}" / f"fold-{number}")
        assert run.has("model.safetensors")
        assert run.info.trained is not None
        assert set(run.info.trained) == set(of[train])
        assert set(run.info.held_out or []) == set(of[validation])
        assert run.config.training.seed == asked.seed
    # The loser's weights are gone, its settings and curves are not; nothing is pickled.
    loser = tmp_path / "s" / "trials" / f"{1 - best.number:04d}" / "fold-1"
    assert {path.name for path in loser.iterdir()} >= {"config.json", "metrics.jsonl"}
    assert not list(loser.glob("*.safetensors"))
    assert not [p for p in (tmp_path / "s").rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".tmp")]
    for line in (tmp_path / "s" / "journal.jsonl").read_text().splitlines():
        json.loads(line)
    words = winner(open_search(tmp_path / "s"), book.settings(best), "s")
    assert words[:4] == ["lungvae", "train", "--preset", "gvae"]
    assert "dimensions=4" in words
    # Once more without --resume is refused; with it, nothing is trained again, and more trials can be had.
    with pytest.raises(UserError, match="Add --resume"):
        search(asked, tmp_path / "s", workers=1)
    before = book.table()
    book, _ = search(asked, tmp_path / "s", resume=True, workers=1)
    pd.testing.assert_frame_equal(book.table(), before)
    for changes, said in (({"seed": 1}, "another seed"), ({"trials": 1}, "only be raised")):
        with pytest.raises(UserError, match=said):
            search(asked.model_copy(update=changes), tmp_path / "s", resume=True, workers=1)
    book, _ = search(
        asked.model_copy(update={"trials": 3}), tmp_path / "s", resume=True, workers=1, device="cpu"
    )
    assert [trial.state for trial in book.trials] == [COMPLETE] * 3
    pd.testing.assert_frame_equal(book.table().iloc[:2], before)


@pytest.mark.long
def test_the_winner_is_judged_once_on_the_patients_set_aside(
    config: Callable, tiny_data: Path, tmp_path: Path
) -> None:
    from lungvae_core.evaluation.searched import final

    book, _ = search(config(trials=1, test_fraction=0.3), tmp_path / "s", workers=1, device="cpu")
    report = final(tmp_path / "s", book, device="cpu")
    assert report is not None
    data = SliceSet.open(tiny_data)
    parts = split(data.table, open_search(tmp_path / "s"))
    of = data.table["patient_id"].to_numpy()
    run = Run.open(tmp_path / "s" / "final")
    assert set(run.info.trained or []) == set(of[parts.rest])
    assert set(run.info.held_out or []) == set(of[parts.test])
    assert report["patients"] == len(set(of[parts.test]))
    area = report["classifier"]["units"]["nodule"]["auc"]
    assert area["low"] <= area["value"] <= area["high"]
    assert report["classifier"]["baselines"].keys() == {"diameter", "area"}
    stamp = (run.folder / "model.safetensors").stat().st_mtime_ns
    written = tmp_path / "s" / "final.json"
    assert final(tmp_path / "s", book, device="cpu") == json.loads(written.read_text())
    assert (run.folder / "model.safetensors").stat().st_mtime_ns == stamp
    written.write_text(json.dumps({**report, "trial": 7}))
    with pytest.raises(UserError, match="would be choosing"):
        final(tmp_path / "s", book, device="cpu")


def scored(monkeypatch: pytest.MonkeyPatch, value: Callable[[dict, int], float]) -> list[tuple[int, int]]:
    """Let a trial's value be value(drawn, epochs) without any training; gives (trial, until) as they run."""
    from lungvae_core import workers
    from lungvae_core.training.search import run as module
    from lungvae_core.training.search.trial import Outcome

    done: list[tuple[int, int]] = []

    class Here:
        """A pool that does a task when it is waited for."""

        slots = 1

        def __init__(self) -> None:
            self.queue: list = []
            self.restarts: dict = {}

        def submit(self, token, function, task) -> None:
            self.queue.append((token, task))

        def wait(self, timeout=None):
            token, task = self.queue.pop(0)
            done.append((token[0], task.until))
            drawn = {"beta": task.config.objective.beta, "lr": task.config.training.learning_rate}
            return token, Outcome([value(drawn, task.until)], task.until, 1.0, "here/1")

        def close(self) -> None:
            pass

    import contextlib

    monkeypatch.setattr(module, "pool", lambda *_, **__: contextlib.nullcontext(Here()))
    assert workers
    return done


def test_halving_stops_the_bad_and_takes_the_good_to_the_end(
    config: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = scored(monkeypatch, lambda drawn, epochs: drawn["beta"] + 0.001 * epochs)
    asked = config({"epochs": 9}, trials=27, halving=True, objective="ssim")
    book, _ = search(asked, tmp_path / "s", device="cpu")
    best = max(book.trials, key=lambda trial: trial.drawn["beta"])
    assert best.state == COMPLETE
    assert best.epochs == 9
    assert book.best()[0] is best
    worst = sorted(book.trials, key=lambda trial: trial.drawn["beta"])[:9]
    assert all(trial.state == HALTED and trial.epochs < 9 for trial in worst)
    reached = [sum(trial.epochs >= epochs for trial in book.trials) for epochs in (1, 3, 9)]
    assert reached[0] == 27
    assert 9 <= reached[1] <= 14  # asynchronous: some go on before better ones are known
    assert 3 <= reached[2] <= 6
    assert sum(until == 9 for _, until in done) == reached[2]


def test_halving_of_few_trials_still_ends_with_a_winner(
    config: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, lambda drawn, epochs: drawn["beta"])
    book, _ = search(
        config({"epochs": 9}, trials=2, halving=True, objective="mse"), tmp_path / "s", device="cpu"
    )
    assert sorted(trial.state for trial in book.trials) == [COMPLETE, HALTED]
    assert book.best()[0].drawn["beta"] == min(
        trial.drawn["beta"] for trial in book.trials
    )  # lower is better


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_proposals_follow_from_the_seed_also_when_broken_off(
    config: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    scored(monkeypatch, lambda drawn, epochs: -((np.log10(drawn["beta"]) + 1) ** 2))
    drawn = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        book, _ = search(config(trials=14, method=method, seed=seed), tmp_path / name, device="cpu")
        drawn[name] = [trial.drawn for trial in book.trials]
    assert drawn["a"] == drawn["b"] != drawn["c"]
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count > 12

    broken = config(trials=14, method=method)
    _, finished = search(broken, tmp_path / "d", device="cpu", should_stop=stop)
    assert not finished
    book, finished = search(broken, tmp_path / "d", resume=True, device="cpu")
    assert finished
    assert [trial.drawn for trial in book.trials] == drawn["a"]
    for trial in drawn["a"]:
        assert 0.001 <= trial["beta"] <= 1
        assert 3e-4 <= trial["learning_rate"] <= 5e-3


def test_tpe_learns_where_it_is_good(
    config: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, lambda drawn, epochs: -((np.log10(drawn["beta"]) + 1) ** 2))
    ranges = {"beta": (0.001, 10.0)}
    asked = config(trials=50, method="tpe")
    asked = asked.model_copy(update={"parameters": narrowed(space("gvae"), ranges=ranges, fixed=TINY)})
    book, _ = search(asked, tmp_path / "s", device="cpu")
    betas = [abs(np.log10(trial.drawn["beta"]) + 1) for trial in book.trials]
    assert np.mean(betas[20:]) < 0.5  # 1 on average if drawn evenly


@pytest.mark.long
def test_a_failing_trial_is_noted_and_the_search_goes_on(config: Callable, tmp_path: Path) -> None:
    seen: list[Event] = []
    bad = {"learning_rate": 1.0, "warmup_epochs": 0}
    asked = config(bad, trials=2)
    parameters = narrowed(space("gvae"), choices={"beta": (1e38,)}, fixed={**TINY, **bad})
    with pytest.raises(UserError, match="All 2 trials failed"):
        search(asked.model_copy(update={"parameters": parameters}), tmp_path / "s", workers=1, **events(seen))
    assert [event.what for event in seen] == ["failed"] * 2
    assert "not a finite number" in pd.read_csv(tmp_path / "s" / "trials.csv")["error"][0]


@pytest.mark.long
@pytest.mark.slow
def test_an_mlp_is_searched_on_a_runs_codes(tiny_models: Path, tmp_path: Path) -> None:
    from lungvae_core.evaluation.searched import final

    run = tiny_models / "tiny-dirvae"
    asked = make(
        space("mlp"), run, trials=2, folds=3, test_fraction=0.3, fixed={"epochs": 2, "sizes": "8-4-2"}
    )
    book, finished = search(asked, tmp_path / "s", workers=1)
    assert finished
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert table["threshold"].isin(spaces.THRESHOLDS).all()
    assert table["balanced_accuracy"].between(0, 1).all()
    np.testing.assert_allclose(table["value"], table["auc"])
    words = winner(open_search(tmp_path / "s"), book.settings(book.best()[0]), "s")
    assert words[:2] == ["lungvae", "classify"]
    assert any(word.startswith("hidden=[8, 4") for word in words)
    report = final(tmp_path / "s", book)
    assert report is not None
    assert report["classifier"]["threshold"] in spaces.THRESHOLDS
    with pytest.raises(UserError, match="halving is for VAEs"):
        search(make(space("mlp"), run).model_copy(update={"halving": True}), tmp_path / "t")


def command(tiny_data: Path, out: Path, *more: object) -> subprocess.Popen:
    words = [sys.executable, "-m", "lungvae_core.cli", "search", "--out", out, "--device", "cpu", *more]
    return subprocess.Popen(
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def started(tiny_data: Path, out: Path) -> subprocess.Popen:
    """A search of three trials of 12 epochs; returns when its second is on its way."""
    fixed = [f"--set={name}={value}" for name, value in {**TINY, "epochs": 12}.items()]
    running = command(
        tiny_data, out, "--data", tiny_data, "--space", "gvae", "--trials", 3, "--workers", 1, *fixed
    )
    until = time.monotonic() + 200
    second = out / "trials" / "0001" / "fold-1" / "metrics.jsonl"
    while time.monotonic() < until and running.poll() is None:
        if second.exists() and second.read_text().count("\n") >= 2:
            return running
        time.sleep(0.05)
    running.kill()
    pytest.fail(f"the second trial did not begin: {running.communicate()[0]}")


def check_ended(tiny_data: Path, out: Path, kept: list[dict]) -> None:
    done = command(tiny_data, out, "--resume", "--workers", 1)
    text, _ = done.communicate(timeout=250)
    assert done.returncode == 0, text
    table = pd.read_csv(out / "trials.csv")
    assert list(table["state"]) == [COMPLETE] * 3
    metrics = Run.open(out / "trials" / "0001" / "fold-1").metrics()
    assert [row["epoch"] for row in metrics] == list(range(1, 13))
    assert metrics[: len(kept)] == kept  # not trained again
    assert "lungvae train --preset gvae" in text


@pytest.mark.long
def test_a_search_killed_outright_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    running = started(tiny_data, out)
    running.kill()
    running.communicate()
    assert Book(out, open_search(out)).trials[0].state == COMPLETE
    with (out / "journal.jsonl").open("a") as stream:
        stream.write('{"op_code": 5, "half a li')  # as a kill in the middle of a write leaves it
    kept = Run.open(out / "trials" / "0001" / "fold-1").metrics()[:-1]
    check_ended(tiny_data, out, kept)


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_search_cleanly(tiny_data: Path, tmp_path: Path, how: int) -> None:
    out = tmp_path / "s"
    running = started(tiny_data, out)
    running.send_signal(how)
    text, _ = running.communicate(timeout=120)
    assert running.returncode == 130, text
    assert f"Go on with: lungvae search --out {out} --resume" in text
    assert "Traceback" not in text
    check_ended(tiny_data, out, Run.open(out / "trials" / "0001" / "fold-1").metrics())
