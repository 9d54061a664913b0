"""The code in README.md and docs: Python blocks run, command lines are ones that the program takes."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from lungvae_core.cli import app
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.protocols.evaluate import KINDS
from lungvae_core.vae.latents import FAMILIES
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
SPAN = re.compile(r"`(lungvae [^`]+)`")
OTHERS = {"pip", "ray"}  # programs whose options are not ours


def blocks() -> Iterator[pytest.param]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield pytest.param(match[1], match[2], id=f"{page.relative_to(ROOT)}:{line}")


@pytest.fixture
def registries() -> Iterator[None]:
    """Afterwards families and protocols are those that ship, whatever a block has registered."""
    shipped = [(registry, dict(registry)) for registry in (FAMILIES, PROTOCOLS, KINDS)]
    yield
    for registry, before in shipped:
        registry.clear()
        registry.update(before)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(("language", "code"), blocks())
def test_a_block_of_code_works(
    language: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if language == "shell":
        for line in code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                check_command(words)
    elif language == "python":
        monkeypatch.chdir(tmp_path)
        shutil.copytree(ROOT / "models" / "gvae", "models/gvae")
        exec(compile(code, "block", "exec"), {"__name__": "block"})
    elif " " in language:
        assert language.split()[1].startswith(("pages/", "tests/"))  # followed by tests/pages/test_guide.py
    elif language == "caddy":
        assert code == (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    else:
        assert language == "text", f"begin it with ```shell, ```python or ```text, not ```{language}"


def check_command(words: list[str]) -> None:
    """Fail unless a command line of a document can be what it says."""
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *rest = words
    if program == "lungvae":
        parse(rest)
    elif program == "torchrun":
        parse(rest[rest.index("lungvae_core.cli") + 1 :])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in rest)
    elif program == "python":
        assert rest[:2] == ["-m", "pip"] or (ROOT / rest[0]).is_file()
    else:
        assert program in OTHERS, f"{program} is a program that this test does not know"


def parse(words: list[str]) -> None:
    """Parse the words after `lungvae` as the program does, without running it; ... stands for more."""
    command, rest = command_of(words)
    command.make_context("lungvae", rest, resilient_parsing="..." in rest)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, or the group of commands, and the words after it."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0].islower():
        command, words = command.commands[words[0]], words[1:]
    return command, words


def spans() -> list[str]:
    return sorted({span for page in PAGES for span in SPAN.findall(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("span", spans())
def test_a_command_in_a_sentence_exists_with_its_options(span: str) -> None:
    command, words = command_of(shlex.split(span)[1:])
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "--help":
            assert word.partition("=")[0] in options
