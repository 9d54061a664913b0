"""`lungvae train` end to end on tiny data, to a prediction; what bad input gets, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungvae_core.data.slices import SliceSet
from lungvae_core.explore import maps
from lungvae_core.explore.maps import project

TINY = ["--set", "width=4", "--set", "dimensions=4", "--set", "batch_size=32", "--device", "cpu"]


def test_from_training_to_a_prediction(
    printed, refused, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # UMAP's compiler takes longer than all else here; the maps and the jobs have tests with the real one.
    monkeypatch.setattr(maps, "project", lambda codes, _method, **_: project(codes, "pca"))
    out = tmp_path / "runs" / "a"
    command = ["train", "--preset", "dirvae", "--data", tiny_data, "--out", out]
    text = printed(*command, "--epochs", 1, "--title", "A", *TINY)
    assert "SSIM" in text
    assert "diameter alone" in text
    assert "area alone" in text
    assert {path.name for path in out.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "last.safetensors",
        "latents.parquet",
        "classifier.safetensors",
        "evaluation.json",
        "map-slice.parquet",
        "map-nodule.parquet",
    }
    report = json.loads((out / "evaluation.json").read_text())
    assert report["protocol"] == "transductive"
    area = report["units"]["nodule"]["auc"]
    assert area["low"] <= area["value"] <= area["high"]

    np.save(tmp_path / "slice.npy", SliceSet.open(tiny_data).slices[3])
    Image.linear_gradient("L").save(tmp_path / "big.png")
    text = printed("predict", out, tmp_path / "slice.npy")
    assert "Model score" in text
    assert "Not for clinical use" in text
    place = ["--hu-low", -1000, "--hu-high", 400, "--row", 40, "--column", 50]
    prediction = json.loads(printed("predict", out, tmp_path / "big.png", "--json", *place))
    assert 0 <= prediction["score"] <= 1
    near = prediction["neighbours"]
    assert len({each["patient_id"] for each in near}) == len(near) == 8

    for arguments, sentence in (
        (["predict", out, tmp_path / "big.png"], "State the HU range"),
        (["predict", out, tmp_path / "big.png", "--hu-low", -1000], "needs both"),
        (["predict", out, tmp_path / "nowhere.npy"], "no image at"),
        (["predict", "nobody", tmp_path / "slice.npy"], "There is no model 'nobody'"),
        (["predict", tmp_path, tmp_path / "slice.npy"], "There is no model"),
        (["train", "--data", tiny_data, "--out", out], "Add --resume"),
        (["train", "--data", tiny_data, "--out", out, "--resume", "--epochs", 3], "keeps its settings"),
    ):
        refused(sentence, *arguments)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset", "gave"], "There is no preset 'gave'"),
        (["--set", "beta"], "no equals sign"),
        (["--set", "wings=2"], "no setting 'wings'"),
        (["--epochs", "0"], "training.epochs"),
        (["--device", "tpu"], "no device 'tpu'"),
        (["--threads", "-1"], "must be 0 or more"),
        (["--data", "nowhere"], "There is no data set at nowhere"),
    ],
)
def test_bad_settings_leave_nothing(
    refused, options: list[str], sentence: str, tiny_data: Path, tmp_path: Path
) -> None:
    data = [] if "--data" in options else ["--data", tiny_data]
    refused(sentence, "train", *data, "--out", tmp_path / "a", *options)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.long
def test_a_signal_stops_cleanly_and_resume_ends_the_work(tiny_data: Path, tmp_path: Path, how: int) -> None:
    out = tmp_path / "a"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lungvae_core.cli", "train"]
    command += ["--data", str(tiny_data), "--out", str(out), "--no-finish"]
    started = subprocess.Popen(
        [*command, "--preset", "gvae", "--epochs", "40", *TINY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        end = time.monotonic() + 120
        while not (out / "last.safetensors").exists() and started.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        started.send_signal(how)
        text, _ = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 130, text
    assert "--resume" in text
    done = subprocess.run(
        [*command, "--resume", "--device", "cpu"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 41))
