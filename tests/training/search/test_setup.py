"""A search's settings: what is refused, how patients are split, and its rungs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.errors import UserError
from lungvae_core.training.search.run import search
from lungvae_core.training.search.setup import make, rungs, split
from lungvae_core.training.search.spaces import space
from tests.conftest import blobs
from tests.training.search.conftest import TINY


def test_bad_searches_are_sentences(tiny_data: Path, tmp_path: Path, config: Callable) -> None:
    for options, said in (
        ({"objective": "beauty"}, "no objective 'beauty'"),
        ({"folds": 9}, "folds"),
        ({"trials": 0}, "trials"),
        ({"test_fraction": 0.9}, "test-fraction"),
        ({"halving": True}, "nothing to halve"),
        ({"method": "luck"}, "method"),
    ):
        with pytest.raises(UserError, match=said):
            config(**options)
    with pytest.raises(UserError, match="no search space"):
        space("vae")
    with pytest.raises(UserError, match="no objective 'balanced_accuracy'"):
        search(config(objective="balanced_accuracy"), tmp_path / "a", workers=1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a search"):
        search(config(), tmp_path / "b", workers=1)
    with pytest.raises(UserError, match="no search to resume"):
        search(config(), tmp_path / "c", resume=True, workers=1)
    slices, masks, table = blobs(60)
    unlabelled = write(
        tmp_path / "d",
        slices,
        masks,
        table.drop(columns="malignancy"),
        DatasetInfo(name="n", source="t", rule="n"),
    )
    with pytest.raises(UserError, match="lacks labels of both classes"):
        search(make(space("gvae"), unlabelled.folder, objective="auc", fixed=TINY), tmp_path / "e", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "d"]


@pytest.mark.parametrize("folds", [1, 3])
def test_no_patient_crosses_a_split_and_those_set_aside_are_in_none(
    config: Callable, tiny_data: Path, folds: int
) -> None:
    table = SliceSet.open(tiny_data).table
    found = split(table, config(folds=folds, test_fraction=0.2))
    of = table["patient_id"].to_numpy()
    test = set(of[found.test])
    assert len(test) == pytest.approx(0.2 * 24, abs=2)
    assert len(found.folds) == folds
    for train, validation in found.folds:
        parts = [set(of[train]), set(of[validation]), test]
        assert all(parts)
        assert sum(map(len, parts)) == 24 == len(set.union(*parts))
    if folds > 1:
        tested = np.concatenate([validation for _, validation in found.folds])
        assert sorted(tested) == sorted(found.rest)


def test_rungs() -> None:
    assert rungs(30) == [4, 10, 30]
    assert rungs(30, 2) == [2, 4, 10, 30]
    assert rungs(9) == [1, 3, 9]
    assert rungs(2) == [1, 2]
    assert rungs(1) == [1]


def test_a_searched_window_is_remarked(tiny_data: Path, tmp_path: Path) -> None:
    config = make(space("paper-gvae"), tiny_data)
    assert config.objective == "auc"
    assert config.notices() == []
    (notice,) = make(space("paper-gvae"), tiny_data, objective="ssim").notices()
    assert "narrow window" in notice
    assert make(space("gvae"), tiny_data).notices() == []
