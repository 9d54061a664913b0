"""`lungvae evaluate` and `lungvae report`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lungvae_core.cli import app
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import save_report
from tests.evaluation.made_up import made_up

TINY = [
    word
    for pair in ("width=4", "dimensions=8", "epochs=1", "spacing_mm=0", "batch_size=32")
    for word in ("--set", pair)
]


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.long
@pytest.mark.slow
def test_a_quick_look_prints_the_table_and_leaves_the_report(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    words = [
        "evaluate",
        "--preset",
        "gvae",
        "--data",
        tiny_data,
        "--protocol",
        "frozen",
        "--quick",
        "--workers",
        1,
    ]
    told = run(*words, *TINY)
    for line in (
        "malignant against benign",
        "model",
        "diameter (readers)",
        "sensitivity",
        "Against the best size",
    ):
        assert line in told
    report = tmp_path / "workspace" / "evaluations" / "gvae-mvb-median_high-frozen" / "report.json"
    assert json.loads(report.read_text())["quick"] is True
    assert "kB" in run("report", report, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "cancer"], "task: Input should be 'mvb' or 'mvr'"),
        (["--folds", "1"], "folds: Input should be greater than or equal to 2"),
        (["--label-rule", "vote"], "label_rule"),
        (["--set", "beta"], "no equals sign"),
        (["--preset", "bigvae"], "no preset 'bigvae'"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(
    words: list[str], said: str, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as found:
        run("evaluate", "--data", tiny_data, "--out", tmp_path / "r.json", *words)
    assert said in str(found.value)
    assert not list(tmp_path.rglob("config.json"))


def test_a_report_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"format": 1}')
    with pytest.raises(UserError):
        run("report", tmp_path / "r.json", "--out", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_table_of_a_leaking_report_says_so(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    from lungvae_core.cli.evaluate import print_report

    report = made_up("paper")
    save_report(tmp_path / "r.json", report)
    print_report(json.loads((tmp_path / "r.json").read_text()))
    told = capsys.readouterr().out
    assert "LEAKS" in told
    assert "What the leak is worth" in told
