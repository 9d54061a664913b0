"""`lungvae audit`: the log, filtered, as lines or as JSON."""

from __future__ import annotations

import sys

import pytest

from lungvae_core.cli import main
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "models", tmp_path / "runs", tmp_path / "data", tmp_path / "workspace")


def test_the_command_prints_it(settings, monkeypatch, capsys):
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(settings.workspace))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lungvae", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    assert "Nothing is on record" in run()[1].out
    audit.record(settings, audit.SIGN_IN, "viewer", who="a@b.org")
    assert "sign-in" in run("--who", "a@b.org")[1].out
    assert '"who": "a@b.org"' in run("--json")[1].out
    status, said = run("--what", "dreams")
    assert status == 2
    assert "Kinds:" in said.err
