"""What tests of commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from lungvae_core.cli import main


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """A function: arguments -> (exit code, standard output, standard error) of `lungvae ARGUMENTS`."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lungvae", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def printed(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """A function: arguments -> what `lungvae ARGUMENTS` prints; it fails where the command does."""

    def call(*arguments: object) -> str:
        code, out, err = run(*arguments)
        assert code == 0, err
        return out

    return call


@pytest.fixture
def refused(run: Callable[..., tuple[int, str, str]]) -> Callable[..., None]:
    """A function: (sentence, *arguments) -> None, once `lungvae ARGUMENTS` has failed with that sentence."""

    def call(sentence: str, *arguments: object) -> None:
        code, out, err = run(*arguments)
        assert (code, out.strip()) == (2, ""), out + err
        assert sentence in err
        assert "Traceback" not in err

    return call
