from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lungvae_core.files import atomic_folder, atomic_path, folder_lock
from lungvae_core.serving.workspace import tidy
from lungvae_core.serving.workspace.settings import Settings
from tests.commands import lungvae


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    found = Settings(**{name: tmp_path / name for name in ("models", "runs", "data", "workspace")})
    for name in ("models", "runs", "data", "workspace"):
        (tmp_path / name).mkdir()
    return found


def killed(code: str, settings: Settings) -> None:
    """Run code that ends in SIGKILL, with temporary folders where the settings' are."""
    start = "import os, tempfile; from pathlib import Path; from lungvae_core.files import *\n"
    place = f"tempfile.tempdir = {str(settings.models.parent / 'system')!r}\n"
    subprocess.run(
        [sys.executable, "-c", start + place + code + "\n    os.kill(os.getpid(), 9)"], check=False
    )


WAYS = {
    "file of a run": "with atomic_path(Path({runs!r}) / 'one' / 'map.parquet') as t:\n    t.touch()",
    "model": "with atomic_folder(Path({models!r}) / 'ship') as t:\n    (t / 'config.json').write_text('x')",
    "data set": "with atomic_folder(Path({data!r}) / 'set'):",
    "map": "with atomic_path(Path({workspace!r}) / 'cache' / 'maps' / '0.npy'):",
    "copy of a database": "with temporary_folder('backup') as t:\n    (t / 'workspace.db').write_text('x')",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_what_a_killed_process_left_is_reported_and_removed(settings: Settings, way: str):
    places = {name: str(getattr(settings, name)) for name in ("models", "runs", "data", "workspace")}
    killed(way.format(**places), settings)
    [left] = tidy.leftovers(tidy.default_folders(settings))
    assert not left.held
    assert "killed" in left.in_words
    assert left.path.exists()
    assert len(tidy.clear_at_start(settings)) == 1
    assert not left.path.exists()
    assert tidy.leftovers(tidy.default_folders(settings)) == []


def test_what_a_living_process_makes_stays(settings: Settings):
    work = settings.data / ".lidc.preparing"
    with (
        atomic_path(settings.runs / "one" / "map.parquet") as one,
        atomic_folder(settings.models / "ship") as two,
        folder_lock(work, what="it"),
    ):
        assert {each.path for each in tidy.leftovers(tidy.default_folders(settings))} == {one, two, work}
        assert tidy.clear_at_start(settings) == []
        assert one.exists()
        assert two.exists()


def test_work_that_can_go_on_is_reported_and_removed_only_when_asked(settings: Settings):
    work = settings.data / ".lidc.preparing"
    work.mkdir()
    (work / "headers.jsonl").write_text("{}")
    assert tidy.clear_at_start(settings) == []
    [left] = tidy.leftovers([settings.data])
    assert "prepare" in left.in_words
    assert tidy.clear(left) == "It is removed."
    assert not work.exists()


def test_a_folder_that_was_being_replaced_goes_back(settings: Settings):
    former = settings.models / "ship"
    former.mkdir()
    (former / "config.json").write_text("the former")
    code = (
        f"import pathlib; target = Path({str(former)!r})\n"
        "rename = pathlib.Path.rename\n"
        "def no(self, to):\n"
        "    if self.name.endswith('.tmp'): os.kill(os.getpid(), 9)\n"
        "    return rename(self, to)\n"
        "pathlib.Path.rename = no\n"
        "with atomic_folder(target, overwrite=True) as t: (t / 'config.json').write_text('half')\n"
        "if True:"
    )
    killed(code, settings)
    assert not former.exists()
    assert len(tidy.clear_at_start(settings)) == 2
    assert (former / "config.json").read_text() == "the former"
    assert [path.name for path in settings.models.iterdir()] == ["ship"]


def test_what_others_wrote_is_left_alone(settings: Settings):
    system = Path(tempfile.gettempdir())
    for path in (
        settings.models / ".git",
        settings.models / ".notes.tmp",
        settings.runs / "mine.tmp",
        settings.runs / "a.deleted",
        system / ".photo.abcdefgh.tmp",
        system / "lungvae-mine",
        settings.data / ".x.ABCDEFGH.tmp",
    ):
        path.mkdir()
    (settings.data / "link").symlink_to(system)
    assert tidy.leftovers(tidy.default_folders(settings)) == []


def test_the_command_tells_first_and_does_it_when_asked_to(tmp_path: Path):
    left = tmp_path / "models" / ".ship.abcd1234.tmp"
    left.mkdir(parents=True)
    (left / "config.json").write_text("half")
    environment = {f"LUNGVAE_{name.upper()}": str(tmp_path / name) for name in ("models", "runs", "data")}
    environment["TMPDIR"] = str(tmp_path)
    first = lungvae("tidy", cwd=tmp_path, env=os.environ | environment)
    assert first.returncode == 0
    assert "left by a killed command" in first.stdout
    assert "--yes" in first.stdout
    assert left.exists()
    assert "It is removed." in lungvae("tidy", "--yes", cwd=tmp_path, env=os.environ | environment).stdout
    assert not left.exists()
    assert "Nothing is left over." in lungvae("tidy", cwd=tmp_path, env=os.environ | environment).stdout
