"""Codes of slices: their views, their quality, and which slices the model was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import (
    encode,
    encode_views,
    encode_with_quality,
    encoded_rows,
    left_out_of,
    split_of,
    trained_rows,
)
from tests.conftest import blobs


@pytest.fixture
def run(tiny_models: Path, tmp_path: Path) -> Run:
    return Run.open(Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run")))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """Other lesions, of which some rows were left out at import."""
    slices, masks, table = blobs(10, seed=7)
    details = {"import": {"left_out": {"damaged": 7}}}
    info = DatasetInfo(
        name="others", source="made by the tests", rule="discs", generated=True, details=details
    )
    return write(tmp_path_factory.mktemp("others") / "set", slices, masks, table, info)


def test_own_slices_have_their_split_and_others_are_unseen(
    run: Run, tiny_data: Path, others: SliceSet
) -> None:
    data = SliceSet.open(tiny_data)
    split = split_of(run, data)
    assert set(split) == {"train", "validation"}
    by_patient = split.groupby(data.table["patient_id"]).nunique()
    assert (by_patient == 1).all()
    assert set(split_of(run, others)) == {"unseen"}
    table, codes = run.latents()
    assert table["split"].tolist() == split.tolist()
    assert trained_rows(table).sum() == (split == "train").sum()
    assert not trained_rows(table.drop(columns="split")).any()
    np.testing.assert_allclose(codes, encode_with_quality(run.load_model(), data.slices)[0], atol=1e-5)


def test_codes_of_other_data_replace_the_own(run: Run, others: SliceSet) -> None:
    progress: list[tuple[int, int]] = []
    encode(run, others, half=True, on_progress=lambda done, of: progress.append((done, of)))
    table, codes = run.latents()
    assert progress == [(10, 10)]
    assert set(table["split"]) == {"unseen"}
    assert table["ssim"].between(-1, 1).all()
    full, quality = encode_with_quality(run.load_model(), others.slices)
    np.testing.assert_array_equal(codes, full.astype(np.float16))
    np.testing.assert_allclose(table["mse"], quality["mse"], rtol=1e-5)
    # What was left out of other data, their own encoding tells.
    assert left_out_of(run, table) == {}
    assert encoded_rows(run, table).used == 10


def test_views_are_mirrors_and_turns(run: Run, others: SliceSet) -> None:
    vae, hu = run.load_model(), others.slices[:3]
    codes = encode_views(vae, hu, 8)
    assert codes.shape == (3, 8, 4)
    np.testing.assert_allclose(codes[:, :1], encode_views(vae, hu, 1), atol=1e-5)
    np.testing.assert_allclose(codes[:, 0], vae.encode_hu(hu), atol=1e-5)
    # A view of the mirrored slice is another view of the slice.
    mirrored = encode_views(vae, np.ascontiguousarray(hu[:, ::-1]), 4)
    np.testing.assert_allclose(mirrored[:, [1, 0, 3, 2]], codes[:, :4], atol=1e-5)
    with pytest.raises(UserError, match="choose 1, 4 or 8"):
        encode_views(vae, hu, 3)


def test_rows_without_a_split_are_not_counted_as_left_out(run: Run) -> None:
    assert left_out_of(run, pd.DataFrame({"patient_id": ["A"]})) == {}
