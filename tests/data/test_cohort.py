"""The paper's cohort: its counts, its rows, its crops, its file and its store."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungvae_core.data import cohort as paper
from lungvae_core.data.slices import KEY, RATINGS
from tests.commands import lungvae

TEXT = dict.fromkeys(["annotation_ids", *(f"{name}_all" for name in RATINGS)], str)


@pytest.fixture
def table(cohort_table):
    return cohort_table


@pytest.mark.slow
def test_the_published_counts(table):
    nodules = table.drop_duplicates(["patient_id", "nodule"])
    assert (len(table), len(nodules), table["patient_id"].nunique()) == (13_852, 2_615, 875)
    per_slice = table["malignancy"].value_counts().sort_index()
    assert per_slice.to_dict() == {1: 1_459, 2: 1_805, 3: 5_358, 4: 2_561, 5: 2_669}
    assert nodules["malignancy"].value_counts().sort_index().tolist() == [319, 490, 1_237, 351, 218]
    assert (nodules["n_readers"] == 1).sum() == 758


@pytest.mark.slow
def test_the_exclusions(table):
    everything = paper.candidates()
    assert len(everything) == 13_916
    counts = everything["excluded"].value_counts().to_dict()
    assert counts == {"": 13_852, "border": 43, "unexplained": 11, "size": 10}


@pytest.mark.slow
def test_every_row_is_whole(table):
    assert not table.duplicated(KEY).any()
    assert not table.isna().any().any()
    assert table.equals(table.sort_values(KEY, ignore_index=True))
    assert table[["row0", "col0"]].min().min() >= 1
    assert table[["row0", "col0"]].max().max() + 64 < 512
    assert not table["mask_clipped"].any()
    for column in TEXT:
        assert (table[column].str.count(r"\|") + 1 == table["n_readers"]).all()


@pytest.mark.slow
def test_masks_belong_to_their_rows(table):
    masks = paper.cohort_masks()
    assert masks.shape == (13_852, 64, 64)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), table["area_px"])
    # Centred: the bounding box has as many rows above it as below it, or one more.
    rows = masks.any(axis=2)
    above, below = rows.argmax(axis=1), rows[:, ::-1].argmax(axis=1)
    assert set(np.unique(above - below)) <= {0, 1}


@pytest.mark.slow
def test_masks_of_chosen_rows_come_in_their_order(table):
    chosen = table.sample(20, random_state=1)
    np.testing.assert_array_equal(paper.cohort_masks(chosen), paper.cohort_masks()[chosen.index])
    assert paper.cohort_masks(table[:0]).shape == (0, 64, 64)
    with pytest.raises(KeyError):
        paper.cohort_masks(pd.DataFrame({"patient_id": ["LIDC-IDRI-0001"], "nodule": [0], "slice": [999]}))


@pytest.mark.slow
@pytest.mark.lidc
def test_agrees_with_every_known_slice(lidc, table):
    shipped = pd.read_csv(lidc / "slices.csv", dtype=TEXT)
    both = shipped[KEY].merge(table, on=KEY, how="left")
    rounded = ["diameter_mm", "surface_mm2", "volume_mm3"]  # in the last bits, by numpy's version
    same = [column for column in shipped if column in table and column not in rounded + KEY]
    assert len(same) == 23
    for column in same:
        assert (both[column] == shipped[column]).all(), column
    np.testing.assert_allclose(both[rounded], shipped[rounded], rtol=1e-9)
    masks = np.unpackbits(np.load(lidc / "masks.npy"), axis=1).reshape(-1, 64, 64)
    np.testing.assert_array_equal(paper.cohort_masks(shipped), masks)


@pytest.mark.slow
def test_the_command_writes_the_table_at_once_from_the_store(table, tmp_path):
    start = time.perf_counter()
    done = lungvae("cohort", "--out", "cohort.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 10  # below 2 s on an idle machine
    assert "13,852 slices of 2,615 nodules and 875 patients" in done.stdout
    written = pd.read_csv(tmp_path / "cohort.csv", dtype=TEXT)
    pd.testing.assert_frame_equal(written, table, check_dtype=False)


@pytest.mark.slow
def test_an_existing_file_is_left_alone(table, tmp_path):
    target = tmp_path / "cohort.csv"
    target.write_text("mine")
    done = lungvae("cohort", "--out", "cohort.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--overwrite" in done.stderr
    assert target.read_text() == "mine"
    assert lungvae("cohort", "--out", "cohort.csv", "--overwrite", cwd=tmp_path).returncode == 0
    assert len(pd.read_csv(target)) == 13_852
    assert lungvae("cohort", "--out", ".", cwd=tmp_path).returncode == 2


@pytest.fixture
def few_scans(monkeypatch, tmp_path):
    """A cohort of three scans, quick to compute, and an empty store; gives the store's folder."""
    monkeypatch.setenv("LUNGVAE_CACHE", str(tmp_path / "store"))
    scans = dict(list(paper.lidc.first_scans().items())[:3])
    monkeypatch.setattr(paper.lidc, "first_scans", lambda: scans)
    yield tmp_path / "store"
    paper._identity.cache_clear()


def test_the_store_is_used_and_a_damaged_one_made_again(few_scans, monkeypatch):
    seen = []
    first = paper.cohort(progress=lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(3, 3)]
    (stored,) = few_scans.iterdir()
    again = paper.cohort(progress=lambda *_: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(again, first)
    stored.write_bytes(stored.read_bytes()[:1000])
    pd.testing.assert_frame_equal(paper.cohort(workers=1), first)
    monkeypatch.setattr(paper, "RULE", paper.RULE + 1)
    paper._identity.cache_clear()
    paper.cohort(workers=1)
    assert len(list(few_scans.iterdir())) == 2


def test_a_store_that_cannot_be_written_costs_only_time(few_scans):
    few_scans.write_text("a file where the folder should be")
    assert len(paper.cohort(workers=1)) > 0


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LUNGVAE_CACHE", str(tmp_path / "own"))
    assert paper.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("LUNGVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paper.cache_folder() == tmp_path / "xdg" / "lungvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paper.cache_folder() == tmp_path / ".cache" / "lungvae"


@given(first=st.integers(0, 511), extent=st.integers(0, 59))
def test_a_crop_is_centred(first, extent):
    """floor(c - 31), less 1 where the centre c is whole; the mask lies inside, centred to a pixel."""
    last = first + extent
    start = paper.crop_start(first, last)
    centre = (first + last) / 2
    assert start == np.floor(centre - 31) - (centre == int(centre))
    above, below = first - start, start + 63 - last
    assert above >= 0
    assert below >= 0
    assert above - below in (0, 1)


@given(st.integers(0, 440), st.integers(0, 440), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_a_crop_holds_the_whole_mask(i0, j0, height, width, seed):
    random = np.random.default_rng(seed)
    layer = random.random((height, width)) < 0.2
    layer[random.integers(height), random.integers(width)] = True
    row0, col0, span, crop = paper.crop_of(layer, i0, j0)
    assert span <= 60
    ii, jj = np.nonzero(crop)
    expected_i, expected_j = np.nonzero(layer)
    np.testing.assert_array_equal(ii + row0, expected_i + i0)
    np.testing.assert_array_equal(jj + col0, expected_j + j0)
