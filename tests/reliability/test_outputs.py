"""Every command against disks that are full or read-only and outputs that are none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lungvae_core.files import PREPARING, in_the_making
from tests.commands import World, arguments, commands, sound

COMMANDS = sorted(commands())
MEGABYTES = 24
# Commands that keep what the same command, given again, goes on from.
GOING_ON = ("train", "search", "evaluate", "prepare")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Fill a file system until `leave` bytes are left."""
    with (folder / "filling").open("wb", buffering=0) as stream:
        free = os.statvfs(folder)
        os.posix_fallocate(stream.fileno(), 0, max(1, free.f_bavail * free.f_frsize - leave))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_called_by_the_walk(name: str, inputs, tmp_path):
    """A command whose parameters nobody knows would be left out of what follows."""
    values = inputs | {"run": tmp_path, "runs": tmp_path, "model": tmp_path, "out": tmp_path}
    arguments(name, commands()[name], values)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "leave", [0, *(pytest.param(room, marks=pytest.mark.exhaustive) for room in (40_000, 400_000))]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_reported_and_leaves_what_was_there(
    name, leave, forks, inputs, small_disk, tiny_models, tmp_path
):
    (tmp_path / "temporary").mkdir()
    world = World(small_disk, tiny_models, inputs, tmp_path / "temporary")
    words = world.words(name)
    fill(small_disk, leave)
    before = world.tree()
    done = sound(forks.run(words, cwd=world.out.parent, env=world.environment, seconds=240))
    after = world.tree()
    making = {part for path in after for part in Path(path).parts if in_the_making(Path(part))}
    assert not {name for name in making if not name.endswith(PREPARING)}  # which `prepare` would go on from
    if not done and name not in (
        "train",
        "search",
        "evaluate",
        "prepare",
    ):  # which keep what they can go on from
        assert after == before
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # PyTorch's own cache


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_read_only_is_reported(name, forks, inputs, small_disk, tiny_models, tmp_path):
    (tmp_path / "temporary").mkdir()
    world = World(small_disk, tiny_models, inputs, tmp_path / "temporary")
    words = world.words(name)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = world.tree()
    sound(forks.run(words, cwd=world.out.parent, env=world.environment, seconds=240))
    assert world.tree() == before


def _file(out: Path) -> Path:
    out.write_text("mine")
    return out


def _pipe(out: Path) -> Path:
    os.mkfifo(out)
    return out


def _dangling(out: Path) -> Path:
    out.symlink_to(out.parent / "nowhere" / "x")
    return out


def _circle(out: Path) -> Path:
    out.symlink_to(out)
    return out


def _full_folder(out: Path) -> Path:
    out.mkdir()
    (out / "mine").write_text("mine")
    return out


OUTS: dict[str, Callable[[Path], Path]] = {
    "file": _file,
    "folder": _full_folder,
    "pipe": _pipe,
    "link to nothing": _dangling,
    "link to itself": _circle,
    "device": lambda out: Path("/dev/full"),
    "long name": lambda out: out.parent / ("n" * 300),
    "long path": lambda out: Path(*[str(out.parent), *["n" * 200] * 30]),
    "below a file": lambda out: _file(out) / "x" / "y",
    "null": lambda out: out.parent / "a\udcffb",
}
SOME_OUTS = ("pipe", "below a file")  # for continuous integration


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "kind",
    [kind if kind in SOME_OUTS else pytest.param(kind, marks=pytest.mark.exhaustive) for kind in OUTS],
)
@pytest.mark.parametrize("name", [name for name in COMMANDS if "out" in commands()[name].__annotations__])
def test_an_output_that_cannot_be_one_is_reported(name, kind, forks, world):
    words = world.words(name, out=OUTS[kind](world.out))
    before, device = world.tree(), Path("/dev/full").lstat().st_mode
    ended = forks.run(
        [os.fsencode(each).decode(errors="surrogateescape") for each in words],
        cwd=world.out.parent,
        env=world.environment,
        seconds=60,
    )
    if not sound(ended) and name not in GOING_ON:
        assert world.tree() == before
    assert Path("/dev/full").lstat().st_mode == device
    if kind in ("file", "pipe", "folder"):
        for path, content in before.items():
            if kind != "file" or path != "out/new":  # which a command that writes a file may replace
                assert world.tree()[path] == content or ended.code == 0
