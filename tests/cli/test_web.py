"""`lungvae app`; that it serves is tried in tests/browser."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from lungvae_core import NOTICE
from lungvae_core.cli import main, web


@pytest.fixture
def run(monkeypatch, capsys):
    """run("--port", "1") gives (exit status, output, errors, the command that took over or None)."""
    commands = []
    monkeypatch.setattr(os, "execv", lambda _program, command: commands.append(command))

    def call(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["lungvae", "app", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err, commands[0] if commands else None

    return call


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_starts_the_pages_on_this_machine_only(run):
    port = free()
    status, out, _, command = run("--port", str(port))
    assert status == 0
    assert NOTICE in out
    assert f"http://127.0.0.1:{port}" in out
    assert str(web.FRONT_DOOR) in command
    assert command[-4:] == ["--server.port", str(port), "--server.address", "127.0.0.1"]


def test_a_port_in_use_is_a_sentence(run, taken):
    status, _, err, command = run("--port", str(taken))
    assert status == 2
    assert command is None
    assert f"port {taken}" in err
    assert "--port" in err
    assert "Traceback" not in err


def test_an_address_of_another_machine_is_a_sentence(run):
    status, _, err, command = run("--address", "192.0.2.1", "--port", str(free()))
    assert (status, command) == (2, None)
    assert "192.0.2.1" in err


def test_a_package_without_the_pages_says_so(run, monkeypatch, tmp_path):
    monkeypatch.setattr(web, "FRONT_DOOR", tmp_path / "app.py")
    status, _, err, command = run()
    assert (status, command) == (2, None)
    assert "checkout" in err
