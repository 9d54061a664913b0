"""The trials of a search in its journal: proposed by the seed, recorded, and read back after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.training.search.book import (
    COMPLETE,
    FAILED,
    HALTED,
    JOURNAL,
    PAUSED,
    RUNNING,
    TABLE,
    Book,
)


def ended(book: Book, state: str, values: list[float], **extra: float) -> None:
    trial = book.propose()
    trial.extra = extra
    if values:
        book.reached(trial, values)
    book.end(trial, state, "no memory" if state == FAILED else "")


def test_trials_are_read_back_as_they_were_recorded(config: Callable, tmp_path: Path) -> None:
    book = Book(tmp_path, config(folds=2))
    ended(book, COMPLETE, [0.5, 0.7], auc=0.8)
    ended(book, HALTED, [0.1, 0.2])
    ended(book, FAILED, [])
    running = book.propose()
    running.where = ["here/1"]
    book.write(running)
    again = Book(tmp_path, config(folds=2))
    assert again.trials == book.trials
    assert [trial.state for trial in again.trials] == [COMPLETE, HALTED, FAILED, RUNNING]
    assert again.trials[0].value == pytest.approx(0.6)
    assert again.trials[2].value is None


def test_a_proposal_depends_on_the_seed_and_the_trials_number(config: Callable, tmp_path: Path) -> None:
    drawn = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        Book(tmp_path / folder, config(seed=seed)).propose()
        drawn.append(Book(tmp_path / folder, config(seed=seed)).propose().drawn)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_trial_that_waits_is_paused(config: Callable, tmp_path: Path) -> None:
    book = Book(tmp_path, config())
    book.reached(book.propose(), [0.5])
    assert Book(tmp_path, config()).trials[0].state == PAUSED


def test_the_best_are_first_whether_high_or_low_is_good(config: Callable, tmp_path: Path) -> None:
    for objective, best in (("ssim", 1), ("mse", 0)):
        (tmp_path / objective).mkdir()
        book = Book(tmp_path / objective, config(objective=objective))
        for values in ([0.1], [0.9], [0.5]):
            ended(book, COMPLETE, values)
        ended(book, HALTED, [0.0])  # not trained to its end
        assert book.best()[0].number == best
        assert len(book.best()) == 3
        assert book.rank(None) > book.rank(0.1)


def test_a_line_that_a_kill_left_half_written_is_cut_off(config: Callable, tmp_path: Path) -> None:
    book = Book(tmp_path, config())
    ended(book, COMPLETE, [0.5])
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b'{"op_code": 4, "worker')
    again = Book(tmp_path, config())
    assert again.trials == book.trials
    ended(again, COMPLETE, [0.6])
    assert len(Book(tmp_path, config()).trials) == 2


def test_the_table_has_a_row_a_trial(config: Callable, tmp_path: Path) -> None:
    book = Book(tmp_path, config(folds=2))
    ended(book, COMPLETE, [0.5, 0.7])
    ended(book, FAILED, [])
    book.write_table()
    table = pd.read_csv(tmp_path / TABLE)
    assert table["state"].tolist() == [COMPLETE, FAILED]
    assert table.loc[0, ["fold_1", "fold_2"]].tolist() == [0.5, 0.7]
    assert table.loc[1, "error"] == "no memory"
    assert set(book.trials[0].drawn) <= set(table)
