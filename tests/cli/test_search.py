"""`lungvae search`: what bad input gets, what a resumed search keeps, and what is printed at the end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

TINY = ["--set", "width=4", "--set", "dimensions=4", "--set", "batch_size=32", "--set", "epochs=1"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "needs --data"),
        (["--space", "mlp", "--data", "DATA"], "needs --run"),
        (["--run", "DATA", "--data", "DATA"], "not both"),
        (["--data", "nowhere"], "There is no data set at"),
        (["--run", "nowhere"], "is not a model"),
        (["--data", "DATA", "--space", "vae"], "no search space 'vae'"),
        (["--data", "DATA", "--method", "luck"], "method is not valid"),
        (["--data", "DATA", "--folds", "6"], "folds is not valid"),
        (["--data", "DATA", "--trials", "0"], "trials is not valid"),
        (["--data", "DATA", "--range", "beta"], "name=low..high"),
        (["--data", "DATA", "--range", "beta=1..x"], "name=low..high"),
        (["--data", "DATA", "--range", "wings=1..2"], "no setting 'wings'"),
        (["--data", "DATA", "--choices", "beta"], "no equals sign"),
        (["--data", "DATA", "--set", "beta"], "no equals sign"),
        (["--data", "DATA", "--set", "epochs=0"], "epochs"),
        (["--data", "DATA", "--objective", "auc", "--device", "tpu"], "no device 'tpu'"),
        (["--data", "DATA", "--ray", "127.0.0.1:1"], "ray start --head"),
        (["--resume"], "no search to resume"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_no_search(
    refused, options: list[str], sentence: str, tiny_data: Path, tmp_path: Path
) -> None:
    if "--ray" in options:
        pytest.importorskip("ray")
    options = [str(tiny_data) if option == "DATA" else option for option in options]
    refused(sentence, "search", "--out", tmp_path / "s", *options)
    assert not (tmp_path / "s").exists()


@pytest.mark.long
def test_a_search_its_winner_and_its_resuming(printed, refused, tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    narrow = ["--range", "beta=0.1..0.2", "--choices", "focus=0,4", "--choices", "warmup=linear,cyclical"]
    options = ["--data", tiny_data, "--space", "gvae", "--trials", 2, "--workers", 1, "--device", "cpu"]
    command = ["search", "--out", out, *options, *TINY, *narrow]
    text = printed(*command, "--final")
    assert "trial    0  complete   ssim" in text
    assert "validation patients (the best of many is optimistic)" in text
    assert "lungvae train --preset gvae" in text
    assert "patients set aside" in text
    table = pd.read_csv(out / "trials.csv")
    assert table["beta"].between(0.1, 0.2).all()
    assert table["focus"].isin([0, 4]).all()
    assert table["warmup"].isin(["linear", "cyclical"]).all()
    refused("Add --resume", *command)
    printed(*command, "--resume")  # the same command
    for changed in (["--seed", 3], ["--range", "beta=0.1..0.9"], ["--set", "width=8"], ["--method", "tpe"]):
        refused("keeps its settings", "search", "--out", out, "--resume", *changed)
