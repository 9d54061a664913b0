"""Containers, units and the example of a sign-in: what of them can be tried without a container engine."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from packaging.utils import canonicalize_name

from lungvae_core.cli import app
from lungvae_core.cli import web as _web  # noqa: F401  (registers the command)
from lungvae_core.errors import UserError
from lungvae_core.serving.http import sockets
from lungvae_core.serving.workspace.access import OPEN_WORDS, read_access
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import make_constraints

yaml = pytest.importorskip("yaml")


def options_of(words: list[str]) -> dict[str, object]:
    """What `lungvae app` makes of a command line; fails for an option that it does not have."""
    assert words[:2] == ["lungvae", "app"]
    command = typer.main.get_command(app).commands["app"]
    return command.make_context("app", words[2:]).params


def instructions(word: str) -> list[str]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]


def test_the_image_copies_what_is_there_and_starts_what_exists():
    for line in instructions("COPY"):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    # Everything stays out of the build but what is named.
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert not any(line.startswith(("!data", "!runs", "!workspace")) for line in lines)
    options = options_of(json.loads(instructions("CMD")[0]))
    assert options["public"]
    assert options["log_json"]
    assert instructions("USER")[-1] != "root"


def test_the_constraints_name_a_version_in_range_of_every_requirement():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    pinned = dict(line.split("==") for line in lines[1:])  # nothing else: no address, no hash, no local build
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned.values())
    for one in make_constraints.project():
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
    for file, uses in (("Makefile", 2), ("Dockerfile", 1)):
        assert (ROOT / file).read_text().count("--constraint constraints.txt") == uses


def test_the_lowest_versions_are_those_that_the_ranges_begin_with(tmp_path):
    named = dict(make_constraints.lowest(make_constraints.project("server")))
    assert "torch" not in named
    for one in make_constraints.project("server"):
        if canonicalize_name(one.name) != "torch":
            assert one.specifier.contains(named[canonicalize_name(one.name)]), one


def test_compose_services_start_what_exists_and_publish_on_loopback_only():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"app", "public", "cuda"}
    for name, service in services.items():
        options = options_of(service["command"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["ulimits"]["nofile"] >= sockets.DESCRIPTORS
        if name == "public":
            assert not options["no_sign_in"]
            assert service["environment"]["LUNGVAE_SIGN_IN"] == "/run/secrets/sign-in"
            proxies = service["environment"]["LUNGVAE_PROXIES"]
            assert sockets.proxies({"LUNGVAE_PROXIES": re.sub(r"\$\{\w+:-(.*)\}", r"\1", proxies)})
        else:
            assert options["no_sign_in"] in OPEN_WORDS


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "deploy" / name)
    return parser


def test_the_unit_starts_what_exists_and_spares_trainings():
    service = unit("lungvae.service")["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert options_of([Path(program).name, *words])["log_json"]
    assert service["KillMode"] == "process"
    assert int(service["LimitNOFILE"]) >= sockets.DESCRIPTORS
    assert service["User"] == "lungvae"


def test_the_documentation_shows_the_proxy_that_is_shipped():
    caddy = (ROOT / "deploy" / "Caddyfile").read_text()
    assert caddy in (ROOT / "docs" / "server.md").read_text()
    assert caddy.count("{") == caddy.count("}")
    assert service_port(unit("lungvae.service")) in caddy


def service_port(service: configparser.ConfigParser) -> str:
    words = shlex.split(service["Service"]["ExecStart"])
    return f"127.0.0.1:{words[words.index('--port') + 1]}"


@pytest.mark.slow
def test_the_nightly_backup_is_one_that_can_be_brought_back(tmp_path):
    line = unit("lungvae-backup.service")["Service"]["ExecStart"].replace("$$", "$").replace("%%", "%")
    lungvae = shlex.join([sys.executable, "-m", "lungvae_core.cli"])
    shell, flag, script = shlex.split(line)
    script = script.replace("/opt/lungvae/.venv/bin/lungvae", lungvae)
    names = ("models", "runs", "data", "workspace")
    folders = {f"LUNGVAE_{name.upper()}": str(tmp_path / name) for name in names}
    environment = os.environ | folders | {"PYTHONPATH": str(ROOT)}
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "config.json").write_text("{}")
    subprocess.run([shell, flag, script], cwd=tmp_path, env=environment, check=True)
    (made,) = (tmp_path / "backups").iterdir()
    assert re.fullmatch(r"lungvae-\d{8}T\d{6}Z\.tar", made.name)
    elsewhere = environment | {
        "LUNGVAE_RUNS": str(tmp_path / "again" / "runs"),
        "LUNGVAE_WORKSPACE": str(tmp_path / "again" / "workspace"),
    }
    subprocess.run([*shlex.split(lungvae), "restore", str(made)], env=elsewhere, check=True)
    assert (tmp_path / "again" / "runs" / "one" / "config.json").read_text() == "{}"


def test_the_example_of_a_sign_in_wants_filling_in_and_then_holds(tmp_path):
    text = (ROOT / "deploy" / "sign-in.example.toml").read_text()
    assert set(tomllib.loads(text)) == {"auth", "lungvae"}
    path = tmp_path / "sign-in.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="cookie_secret"):
        read_access({"LUNGVAE_SIGN_IN": str(path)})
    for name, value in (("cookie_secret", "x" * 64), ("client_id", "lungs"), ("client_secret", "secret")):
        text = re.sub(rf'{name} = ""', f'{name} = "{value}"', text)
    path.write_text(text)
    access = read_access({"LUNGVAE_SIGN_IN": str(path)})
    assert access.sign_in is not None
    assert access.sign_in.origin == "https://lungs.example.org"


def test_the_core_tests_that_the_makefile_names_are_there():
    core = re.search(r"^CORE := (.*?[^\\])$", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert core is not None
    paths = [path for path in core[1].replace("\\", " ").split() if path]
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
