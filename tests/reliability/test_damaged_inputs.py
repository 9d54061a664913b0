"""Every command with each of its inputs damaged: a sentence or a result, and the inputs stay as they were."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Forks, World, commands, sound

FEW = ("info", "leaks", "models", "report")  # for continuous integration
COMMANDS = [
    name if name in FEW else pytest.param(name, marks=pytest.mark.exhaustive) for name in sorted(commands())
]


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: (path.unlink(), make(path))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "noise": _write(bytes(range(256)) * 20),
    "half": _half,
    "empty": _write(b""),
    "brackets": _write(b"[" * 100_000),
    "a list": _write(b"[1, {}]"),
    "folder": _instead(lambda path: path.mkdir()),
    "pipe": _instead(os.mkfifo),
    "circle": _instead(lambda path: path.symlink_to(path.name)),
}
SOME = ("noise", "half")  # for continuous integration
KINDS = [kind if kind in SOME else pytest.param(kind, marks=pytest.mark.exhaustive) for kind in DAMAGES]


def files_of(world: World, name: str) -> Iterator[Path]:
    """The files that a command is given, by themselves or in a folder."""
    values = world.inputs | {"run": world.run, "runs": world.run, "model": world.run}
    for parameter in inspect.signature(commands()[name]).parameters:
        value = values.get(parameter)
        if isinstance(value, Path):
            yield from sorted(each for each in (value, *value.rglob("*")) if each.is_file())


def own_copies(world: World, folder: Path) -> None:
    """Give a world inputs of its own, which may be damaged."""
    for name, value in world.inputs.items():
        if isinstance(value, Path):
            into = folder / name / value.name
            into.parent.mkdir(parents=True)
            shutil.copytree(value, into) if value.is_dir() else shutil.copy(value, into)
            world.inputs = world.inputs | {name: into}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_input_is_reported(name: str, kind: str, forks: Forks, world: World, tmp_path: Path):
    own_copies(world, tmp_path / "own")
    database = Path(world.environment["LUNGVAE_WORKSPACE"]) / "workspace.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(b"SQLite format 3\0" + bytes(200))
    for path in [database, *files_of(world, name)]:
        content = path.read_bytes()
        DAMAGES[kind](path)
        ended = forks.run(world.words(name), cwd=world.base, env=world.environment, seconds=240)
        assert ended.code in (0, 2), (path, ended)
        sound(ended)
        _remove(path)
        path.write_bytes(content)
        _remove(world.out)
        if not world.run.is_dir():  # deleted, as it was to be
            return


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
