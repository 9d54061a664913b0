"""A SliceSet survives writing and reading, and damage of any kind is refused with words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import (
    DatasetInfo,
    SliceSet,
    check,
    malignancy_grade,
    malignancy_meaning,
    malignant,
    rating_text,
    write,
)
from lungvae_core.errors import UserError
from tests.conftest import blobs

INFO = DatasetInfo(name="t", source="tests", rule="none")


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "copy"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    slices, masks, table = blobs(20)
    write(tmp_path / "a", slices, masks, table, INFO)
    opened = SliceSet.open(tmp_path / "a")
    np.testing.assert_array_equal(opened.slices, slices)
    np.testing.assert_array_equal(opened.masks, masks)
    # Which of pandas' text types a stored text comes back as is up to its version.
    pd.testing.assert_frame_equal(opened.table, table.astype(opened.table.dtypes))
    assert isinstance(opened.slices, np.memmap)
    assert not opened.slices.flags.writeable
    assert opened.info.count == len(opened) == 20


@pytest.mark.parametrize("name", ["slices.npy", "masks.npy", "table.parquet"])
def test_a_changed_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match="damaged or was changed"):
        SliceSet.open(folder)


@pytest.mark.parametrize("name", ["slices.npy", "masks.npy", "table.parquet"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "nonsense"])
def test_damage_is_reported_even_without_the_hash(folder: Path, name: str, harm: str) -> None:
    path = folder / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if harm == "truncated" else b"nonsense")
    with pytest.raises(UserError, match=f"damaged.*{name}|{name} is damaged"):
        SliceSet.open(folder, verify=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 99}, "Update lungvae"),
        ({"surprise": 1}, "expected fields"),
        ({"count": 3}, "dataset.json says 3"),
        (None, "damaged or not JSON"),
    ],
)
def test_a_wrong_description_is_reported(folder: Path, change: dict | None, sentence: str) -> None:
    path = folder / "dataset.json"
    raw = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps({**raw, **change}))
    with pytest.raises(UserError, match=sentence):
        SliceSet.open(folder, verify=False)


def test_wrong_paths_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no data set"):
        SliceSet.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no dataset\.json"):
        SliceSet.open(tmp_path)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda s, m, t: (s[:, :32], m, t), "shape"),
        (lambda s, m, t: (s.astype(float), m, t), "float64"),
        (lambda s, m, t: (s, m[:-1], t), "must be the same number"),
        (lambda s, m, t: (s[:0], m[:0], t[:0]), "no slice"),
        (lambda s, m, t: (s, m, t.drop(columns="nodule")), "lacks the column"),
        (lambda s, m, t: (s, m, t.assign(slice=0)), "rows 1, 2, 3, 4, 5 are the same slice"),
        (lambda s, m, t: (s, m, t.assign(patient_id=None)), "row 1, patient_id: is empty"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_leave_nothing(tmp_path: Path, harm, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        write(tmp_path / "a", *harm(*blobs(10)), INFO)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_set_is_kept_unless_forced(folder: Path) -> None:
    before = SliceSet.open(folder).info.content_hash
    with pytest.raises(UserError, match="already exists"):
        write(folder, *blobs(10), INFO)
    assert SliceSet.open(folder).info.content_hash == before
    assert len(write(folder, *blobs(10), INFO, overwrite=True)) == 10


def test_labels_leave_out_the_indeterminate() -> None:
    table = pd.DataFrame({"malignancy": pd.array([1, 2, 3, 4, 5, None], dtype="Int64")})
    np.testing.assert_array_equal(malignant(table), [0, 0, np.nan, 1, 1, np.nan])
    assert np.isnan(malignant(pd.DataFrame(index=range(3)))).all()
    check(*blobs(5), where="here")


@pytest.mark.parametrize(
    ("rating", "text", "meaning", "grade"),
    [
        (4, "4", "moderately suspicious", 4),
        (3.0, "3", "indeterminate", 3),
        (2.66667, "2.67", "between moderately unlikely and indeterminate", 2),
        (3.5, "3.5", "between indeterminate and moderately suspicious", 4),
        (3.01, "3.01", "between indeterminate and moderately suspicious", 4),
        (4.5, "4.5", "between moderately suspicious and highly suspicious", 4),
        (1.33333, "1.33", "between highly unlikely and moderately unlikely", 1),
    ],
)
def test_a_mean_rating_is_shown_as_what_it_lies_between(
    rating: float, text: str, meaning: str, grade: int
) -> None:
    assert rating_text(rating) == text
    assert malignancy_meaning(rating) == meaning
    assert malignancy_grade(np.array([rating])) == grade
    assert np.isnan(malignancy_grade(np.array([np.nan]))).all()
