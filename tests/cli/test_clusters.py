"""`lungvae clusters` on a tiny model; and what bad input gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lungvae_core.files import read_json


@pytest.fixture
def model(tiny_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "tiny-gvae"))


def test_clusters_are_written_and_told(run, model: Path) -> None:
    code, text, err = run("clusters", model, "--quick", "--seed", 3)
    assert code == 0, err
    report = read_json(model / "clusters.json", what="")
    assert (report["seed"], report["quick"], report["unit"]) == (3, True, "nodule")
    assert "24 nodules of 24 patients" in text
    assert "seed 3" in text
    for words in ("k-means", "CLASSIX", "HDBSCAN", "confound", "trustworthiness", "Median diameter"):
        assert words in text


def test_slices_go_to_another_file(run, model: Path, tmp_path: Path) -> None:
    code, text, err = run("clusters", model, "--quick", "--unit", "slice", "--out", tmp_path / "other.json")
    assert code == 0, err
    assert "120 slices of 24 patients" in text
    assert (tmp_path / "other.json").exists()
    assert not (model / "clusters.json").exists()


@pytest.mark.parametrize(
    ("words", "told"), [(["--unit", "patient"], "nodule or slice"), (["--seed", "-1"], "seed")]
)
def test_bad_input_gets_a_sentence(run, model: Path, words: list[str], told: str) -> None:
    code, _, err = run("clusters", model, *words)
    assert code == 2
    assert told in err


def test_another_folder_gets_a_sentence(run, tmp_path: Path) -> None:
    code, _, err = run("clusters", tmp_path)
    assert code == 2
    assert "is not a model" in err
