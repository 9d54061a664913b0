"""`lungvae evaluate` and `lungvae report`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungvae_core.cli.evaluate import print_report
from lungvae_core.evaluation.report import save_report
from tests.evaluation.made_up import made_up

SETTINGS = ("width=4", "dimensions=8", "epochs=1", "spacing_mm=0", "batch_size=32")
TINY = [argument for setting in SETTINGS for argument in ("--set", setting)]


@pytest.mark.long
@pytest.mark.slow
def test_a_quick_look_prints_the_table_and_leaves_the_report(
    printed, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    options = ["--preset", "gvae", "--data", tiny_data, "--protocol", "frozen", "--quick", "--workers", 1]
    text = printed("evaluate", *options, *TINY)
    malignancy = "malignant against benign"
    for part in (malignancy, "model", "diameter (readers)", "sensitivity", "Against the best size"):
        assert part in text
    report = tmp_path / "workspace" / "evaluations" / "gvae-mvb-median_high-frozen" / "report.json"
    assert json.loads(report.read_text())["quick"] is True
    assert "kB" in printed("report", report, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "cancer"], "task: Input should be 'mvb' or 'mvr'"),
        (["--folds", "1"], "folds: Input should be greater than or equal to 2"),
        (["--label-rule", "vote"], "label_rule"),
        (["--set", "beta"], "no equals sign"),
        (["--preset", "bigvae"], "no preset 'bigvae'"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(
    refused, options: list[str], sentence: str, tiny_data: Path, tmp_path: Path
) -> None:
    refused(sentence, "evaluate", "--data", tiny_data, "--out", tmp_path / "r.json", *options)
    assert not list(tmp_path.rglob("config.json"))


def test_a_report_that_is_none_is_said(refused, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"format": 1}')
    refused("r.json", "report", tmp_path / "r.json", "--out", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_table_of_a_leaking_report_says_so(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    save_report(tmp_path / "r.json", made_up("paper"))
    print_report(json.loads((tmp_path / "r.json").read_text()))
    text = capsys.readouterr().out
    assert "LEAKS" in text
    assert "What the leak is worth" in text
