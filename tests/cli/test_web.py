"""`lungvae app`; that it serves is tried in tests/browser."""

from __future__ import annotations

import json
import os
import socket
import sys

import pytest

from lungvae_core import NOTICE
from lungvae_core.cli import main, web
from tests.running import free_port


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """No sign-in of whoever runs the tests; and what the command tells its server is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SIGN_IN", "NO_SIGN_IN", "HOSTS", "LOG"):
        monkeypatch.setenv(f"LUNGVAE_{name}", "")
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))


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
def refused(run):
    """refused("--port", "1") gives the sentence with which a command that starts nothing ends."""

    def call(*arguments: str) -> str:
        status, out, err, command = run(*arguments)
        assert (status, out, command) == (2, "", None)
        assert "Traceback" not in err
        return err

    return call


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_it_starts_the_pages_on_this_machine_only(run):
    port = free_port()
    status, out, _, command = run("--port", str(port))
    assert status == 0
    assert NOTICE in out
    assert f"http://127.0.0.1:{port}" in out
    assert command[1] == str(web.FRONT_DOOR)
    options = json.loads(command[2])
    assert (options["server.port"], options["server.address"]) == (port, "127.0.0.1")
    assert options["browser.gatherUsageStats"] is False
    assert options["server.enableXsrfProtection"] is True
    assert options["client.showErrorDetails"] == "none"


def test_a_port_in_use_is_a_sentence(refused, taken):
    sentence = refused("--port", str(taken))
    assert f"port {taken}" in sentence
    assert "--port" in sentence


def test_an_address_of_another_machine_is_a_sentence(refused):
    assert "192.0.2.1" in refused("--address", "192.0.2.1", "--port", str(free_port()))


def test_an_installation_without_the_pages_says_so(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(web, "FRONT_DOOR", tmp_path / "app.py")
    assert "Install lungvae anew" in refused()


WORDS = "anyone on this network may use it"


@pytest.fixture
def sign_in(tmp_path):
    path = tmp_path / "sign-in.toml"
    path.write_text(
        """[auth]
redirect_uri = "https://lungs.example.org/oauth2callback"
cookie_secret = "0123456789012345678901234567890123456789"
client_id = "id"
client_secret = "secret"
server_metadata_url = "https://id.example.org/.well-known/openid-configuration"
"""
    )
    return path


@pytest.mark.parametrize("opened", [("--public",), ("--address", "0.0.0.0"), ("--public", "--address", "::")])
def test_others_are_not_let_in_without_a_sign_in(refused, opened):
    sentence = refused(*opened, "--port", str(free_port()))
    assert "sign-in" in sentence
    assert WORDS in sentence  # what to say instead


@pytest.mark.parametrize("other", ["yes", "true", WORDS + "!", WORDS.upper()])
def test_other_words_than_the_exact_ones_are_refused(refused, other):
    assert WORDS in refused("--public", "--no-sign-in", other, "--port", str(free_port()))


def test_the_exact_words_let_others_in_and_are_on_record(run):
    from lungvae_core.serving.workspace import audit
    from lungvae_core.serving.workspace.settings import Settings

    status, out, _, command = run("--public", "--no-sign-in", WORDS, "--port", str(free_port()))
    assert status == 0
    assert json.loads(command[2])["server.address"] == "0.0.0.0"
    assert f"Open to: {WORDS}." in out
    assert os.environ["LUNGVAE_NO_SIGN_IN"] == WORDS
    assert WORDS in audit.read(Settings(), what=audit.SERVER_START)[0].detail


def test_with_a_sign_in_it_starts_and_tells_the_server_where_it_is(run, sign_in):
    pytest.importorskip("authlib")
    status, out, _, command = run(
        "--public", "--sign-in", str(sign_in), "--port", str(free_port()), "--log-json"
    )
    assert status == 0
    assert out == ""  # standard output is for machines now
    assert os.environ["LUNGVAE_SIGN_IN"] == str(sign_in)
    assert os.environ["LUNGVAE_LOG"] == "json"
    assert json.loads(command[2])["logger.hideWelcomeMessage"] is True


def test_proxies_that_are_no_addresses_are_a_sentence(refused, monkeypatch):
    monkeypatch.setenv("LUNGVAE_PROXIES", "127.0.0.1, the-proxy")
    assert "LUNGVAE_PROXIES names 'the-proxy'" in refused("--port", str(free_port()))


def test_a_sign_in_that_cannot_work_is_a_sentence(refused, sign_in, monkeypatch):
    assert "There is no file" in refused("--sign-in", str(sign_in) + "x")
    assert "Leave out --no-sign-in" in refused("--sign-in", str(sign_in), "--no-sign-in", WORDS)
    with monkeypatch.context() as patch:
        patch.setattr(web.importlib.util, "find_spec", lambda _name: None)
        assert "lungvae[server]" in refused("--sign-in", str(sign_in))
    sign_in.write_text(sign_in.read_text().replace("https://lungs", "http://lungs"))
    sentence = refused("--public", "--sign-in", str(sign_in))
    assert "redirect_uri" in sentence
    assert "0123456789" not in sentence
