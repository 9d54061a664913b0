"""What is recorded of a fault of the program: a sentence with a number, and a log with the traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lungvae_core import faults


def recorded(text: str = "the cause") -> str:
    try:
        raise ValueError(text)
    except ValueError:
        return faults.record()


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv(faults.COUNTER, str(tmp_path / "counter"))


@pytest.mark.parametrize("workspace", [True, False])
def test_the_log_is_in_the_workspace_or_else_in_the_temporary_folder(workspace: bool, tmp_path: Path):
    if workspace:
        (tmp_path / "workspace").mkdir()
    sentence = recorded("odd \ud800 text")
    found = re.fullmatch(
        r"This is a fault of the program, number ([0-9a-f]{8})\. "
        r"What happened is in (.+); please send it to the maintainers\.",
        sentence,
    )
    assert found is not None, sentence
    log = Path(found[2])
    assert log.parent == (tmp_path / "workspace" / "logs" if workspace else tmp_path / "temporary")
    assert log.name.startswith(f"error-{found[1]}-")
    assert "ValueError: odd \\ud800 text" in log.read_text()
    assert not (tmp_path / "workspace").exists() or workspace  # a log makes no workspace


def test_every_fault_has_its_own_number_and_is_counted(tmp_path: Path):
    assert recorded() != recorded()
    assert (tmp_path / "counter").read_text().count("ValueError: the cause") == 2


def test_where_nothing_can_be_written_the_sentence_has_the_last_line(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError("full")

    monkeypatch.setattr("tempfile.mkstemp", full)
    sentence = recorded("x" * 5_000)
    assert "could be written nowhere; its last line is: ValueError: xxx" in sentence
    assert len(sentence) < 500
