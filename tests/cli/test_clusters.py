"""`lungvae clusters` on a tiny model; and what bad input gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lungvae_core.files import read_json


@pytest.fixture
def model(tiny_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "tiny-gvae"))


def test_clusters_are_written_and_printed(printed, model: Path) -> None:
    text = printed("clusters", model, "--quick", "--seed", 3)
    report = read_json(model / "clusters.json", what="")
    assert (report["seed"], report["quick"], report["unit"]) == (3, True, "nodule")
    assert "24 nodules of 24 patients" in text
    assert "seed 3" in text
    for part in ("k-means", "CLASSIX", "HDBSCAN", "confound", "trustworthiness", "Median diameter"):
        assert part in text


def test_slices_go_to_another_file(printed, model: Path, tmp_path: Path) -> None:
    text = printed("clusters", model, "--quick", "--unit", "slice", "--out", tmp_path / "other.json")
    assert "120 slices of 24 patients" in text
    assert (tmp_path / "other.json").exists()
    assert not (model / "clusters.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"), [(["--unit", "patient"], "nodule or slice"), (["--seed", "-1"], "seed")]
)
def test_bad_input_gets_a_sentence(refused, model: Path, options: list[str], sentence: str) -> None:
    refused(sentence, "clusters", model, *options)


def test_another_folder_gets_a_sentence(refused, tmp_path: Path) -> None:
    refused("is not a model", "clusters", tmp_path)
