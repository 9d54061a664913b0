"""What the command line says of itself and of its settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lungvae_core.vae.config import PARTS


def test_help_is_quick_and_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lungvae_core.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    making = ("cohort", "prepare", "import", "phantom", "train")
    for command in (*making, "encode", "classify", "map", "predict", "app"):
        assert f" {command} " in done.stdout
    assert "import time" in done.stderr
    assert not any(line.split("|")[-1].strip() in ("torch", "pandas") for line in done.stderr.splitlines())


def test_presets_say_what_each_setting_means_and_can_be(printed) -> None:
    lines = dict(line.split(" ", 1) for line in printed("presets", "--settings").splitlines())
    assert lines.keys() == {name for part in PARTS.values() for name in part.model_fields} - {"prior"}
    assert lines["epochs"].startswith("(1 to 10000): Epochs. ")


def test_a_model_that_is_not_there_is_reported(refused, tmp_path: Path) -> None:
    out = tmp_path / "explorer.html"
    refused("There is no model", "export-explorer", tmp_path / "nothing", "--out", out)
    assert not out.exists()
