"""The data sets that the app offers, and why others are left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lungvae_core.serving.workspace.datasets import FoundData, find_data
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tiny_data: Path, tmp_path: Path) -> Settings:
    """A data folder with the tiny data set in it."""
    shutil.copytree(tiny_data, tmp_path / "tiny")
    return Settings(data=tmp_path)


def test_a_data_set_is_described_by_its_name_and_size(settings):
    (data,), broken = find_data(settings)
    assert broken == {}
    assert data == FoundData(settings.data / "tiny", "tiny discs", 120, 24, generated=True)
    assert data.in_words() == "tiny discs (tiny): 120 slices, 24 patients, generated"


def test_a_damaged_one_is_left_out_with_the_reason_and_hides_no_other(settings):
    for name in ("no-table", "no-json"):
        shutil.copytree(settings.data / "tiny", settings.data / name)
    (settings.data / "no-table" / "table.parquet").unlink()
    (settings.data / "no-json" / "dataset.json").write_text("{")
    usable, broken = find_data(settings)
    assert [data.folder.name for data in usable] == ["tiny"]
    assert set(broken) == {"no-table", "no-json"}
    assert all("damaged" in reason for reason in broken.values())


def test_it_is_described_anew_once_it_has_changed(settings):
    find_data(settings)
    file = settings.data / "tiny" / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "renamed", "generated": False}))
    (data,), _ = find_data(settings)
    assert data.in_words() == "renamed (tiny): 120 slices, 24 patients"
