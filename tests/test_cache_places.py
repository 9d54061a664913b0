"""The libraries' caches go where something can be written; no command ends in a trace for want of that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lungvae_core.cache_places import VARIABLES, own_folder, use_writable_caches, writable
from tests.commands import Forks, World, commands, sound
from tests.conftest import ROOT


def test_where_the_usual_cache_can_be_written_nothing_changes(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    use_writable_caches(environment)
    assert environment == {"XDG_CACHE_HOME": str(tmp_path)}
    assert not list(tmp_path.iterdir())


def test_else_every_library_gets_a_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    environment = {"XDG_CACHE_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    use_writable_caches(environment)
    for name in VARIABLES:
        assert Path(environment[name]).is_relative_to(tmp_path)
        assert writable(Path(environment[name]))


def test_what_a_person_has_set_stays_where_it_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "mine"), "MPLCONFIGDIR": str(tmp_path / "file" / "x")}
    environment = {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path), **chosen}
    use_writable_caches(environment)
    assert environment["NUMBA_CACHE_DIR"] == chosen["NUMBA_CACHE_DIR"]
    assert environment["MPLCONFIGDIR"] != chosen["MPLCONFIGDIR"]


def test_a_folder_of_somebody_elses_is_not_ours(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"lungvae-cache-{os.getuid()}").symlink_to(elsewhere)
    assert own_folder({"TMPDIR": str(tmp_path)}) != tmp_path / f"lungvae-cache-{os.getuid()}"


# How a place can be one that nothing can be written in: commands of a shell in a mount namespace of its own.
READ_ONLY = "mount --make-rprivate / && mount --bind / / && mount -o remount,bind,ro /"
PLACES = {
    "home does not exist": "export HOME=/nonexistent; unset XDG_CACHE_HOME TMPDIR",
    "home is a file": "export HOME=/etc/passwd; unset XDG_CACHE_HOME",
    "home is empty": "export HOME=",
    "the temporary folder does not exist": "export HOME=/nonexistent TMPDIR=/nonexistent/tmp",
    "the cache is a file": "export XDG_CACHE_HOME=/etc/passwd NUMBA_CACHE_DIR=/etc/passwd/x",
    "the working folder cannot be written": "cd /etc",
    "the working folder is gone": 'd=$(mktemp -d -p /dev/shm); cd "$d"; rmdir "$d"',
    "no temporary folder either": "export HOME=/nonexistent; mount -t tmpfs -o ro tmpfs /dev/shm",
}


def entering(place: str) -> list[str]:
    """The words before a command that start it where nothing but /dev/shm can be written, in `place`."""
    script = f'{READ_ONLY} || exit 99; {PLACES[place]}; export PYTHONDONTWRITEBYTECODE=1; exec "$@"'
    return ["unshare", "-m", "bash", "-c", script, "bash"]


def in_place(place: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command run in `place`; skips where that may not be made."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*entering(place), *command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=280,
    )
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip("needs the right to mount in a namespace of its own")
    return done


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.long
def test_umaps_compiler_starts_in_places_that_cannot_be_written(place: str) -> None:
    code = (
        "import lungvae_core; from lungvae_core.cache_places import without_numba_cache as w; w()\n"
        "from numba import njit\n"
        "import numpy.lib.scimath as module\n"  # numba asks where the function's file is, as for UMAP's
        "def f(x): return x + 1\n"
        "f.__code__ = f.__code__.replace(co_filename=module.__file__)\n"
        "print(njit(cache=True)(f)(1))"
    )
    done = in_place(place, [sys.executable, "-c", code])
    assert done.stdout.strip() == "2", done.stderr[-800:]


@pytest.mark.long
@pytest.mark.exhaustive  # UMAP is compiled anew in each place
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", PLACES)
def test_every_command_ends_with_a_result_or_a_sentence(place: str, world: World) -> None:
    in_place(place, ["true"])  # skips where it may not be made
    if place == "the working folder is gone":  # where no process starts that would fork for them
        for name in sorted(commands()):
            done = in_place(place, [sys.executable, "-m", "lungvae_core.cli", *world.words(name)])
            assert "Traceback" not in done.stderr, (name, done.stderr)
            assert done.returncode == 2, (name, done.stderr)
            assert "is gone" in done.stderr, (name, done.stderr)
        return
    environment = {name: value for name, value in world.environment.items() if name != "TMPDIR"}
    forks = Forks(entering(place))
    try:
        for name in sorted(commands()):
            sound(forks.run(world.words(name), cwd=None, env=environment, seconds=600))
    finally:
        forks.close()
