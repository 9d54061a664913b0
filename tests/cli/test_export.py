"""`lungvae export-explorer`: a model that is not there is told before anything is written."""

from __future__ import annotations

from pathlib import Path


def test_a_model_that_is_not_there_is_told(refused, tmp_path: Path) -> None:
    out = tmp_path / "explorer.html"
    refused("There is no model", "export-explorer", tmp_path / "nothing", "--out", out)
    assert not out.exists()
