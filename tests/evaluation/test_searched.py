"""The final test of a search: judged once, and never with another trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.searched import REPORT, final, read_final
from lungvae_core.files import write_json
from lungvae_core.training.search.book import COMPLETE, Book
from lungvae_core.training.search.setup import make
from lungvae_core.training.search.spaces import space

GOOD = {"trial": 0, "label_rule": "median_high", "patients": 3, "slices": 15}


@pytest.fixture
def book(tiny_data: Path, tmp_path: Path) -> Book:
    config = make(space("gvae"), tiny_data, trials=2)
    write_json(tmp_path / "search.json", config.model_dump(mode="json"))
    return Book(tmp_path, config)


def test_a_report_is_read_absent_or_refused(tmp_path: Path) -> None:
    assert read_final(tmp_path) is None
    (tmp_path / REPORT).write_text(json.dumps(GOOD))
    assert read_final(tmp_path) == GOOD
    (tmp_path / REPORT).write_text(json.dumps(GOOD | {"patients": "many"}))
    with pytest.raises(UserError, match=r"damaged at patients.*lungvae search --out .* --resume --final"):
        read_final(tmp_path)


def test_without_a_finished_trial_there_is_no_best(book: Book, tmp_path: Path) -> None:
    book.propose()
    with pytest.raises(UserError, match="so there is no best"):
        final(tmp_path, book)


def test_a_judged_search_is_never_judged_again(book: Book, tmp_path: Path) -> None:
    trial = book.propose()
    book.reached(trial, [0.5])
    book.end(trial, COMPLETE)
    (tmp_path / REPORT).write_text(json.dumps(GOOD))
    assert final(tmp_path, book) == GOOD  # nothing is trained
    better = book.propose()
    book.reached(better, [0.9])
    book.end(better, COMPLETE)
    with pytest.raises(UserError, match="judging trial 1 on the same patients would be choosing on them"):
        final(tmp_path, book)
    assert json.loads((tmp_path / REPORT).read_text()) == GOOD
