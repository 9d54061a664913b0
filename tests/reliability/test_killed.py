"""Every command killed at a moment of its work: nothing half-made is offered, and `tidy` clears the rest."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.files import PREPARING
from lungvae_core.serving.jobs.evaluations import find_reports, read_report
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace import tidy
from lungvae_core.serving.workspace.datasets import find_data
from lungvae_core.serving.workspace.settings import Settings
from tests.commands import Forks, World, commands, sound

SOME = ("encode", "import", "phantom", "publish")  # for continuous integration
COMMANDS = [
    name if name in SOME else pytest.param(name, marks=pytest.mark.exhaustive) for name in sorted(commands())
]
KILLS = 3
OUT = {"publish": "models", "train": "runs", "search": "runs"}  # where what a command makes is offered


def settings_of(world: World) -> Settings:
    names = ("models", "runs", "data", "workspace")
    return Settings(**{name: Path(world.environment[f"LUNGVAE_{name.upper()}"]) for name in names})


def check_offered(settings: Settings) -> None:
    """All that the lists offer opens; what is half-made is not among it, and is not complained of either."""
    registry = Registry(settings)
    for entry in registry.entries():
        registry.load(entry.name)
    assert not registry.broken()
    sets, left_out = find_data(settings)
    assert not left_out
    for each in sets:
        SliceSet.open(each.folder)
    reports, left_out = find_reports(settings)
    assert not left_out
    for report in reports:
        read_report(report.path)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_leaves_nothing_half_made(
    name: str, forks: Forks, tiny_models: Path, inputs: dict[str, object], tmp_path: Path
):
    def made(number: int) -> World:
        base = tmp_path / f"{number}"
        (base / "there").mkdir(parents=True)
        (base / "temporary").mkdir()
        world = World(base / "there", tiny_models, inputs, base / "temporary")
        world.out = world.base / OUT.get(name, "data") / "new"
        world.out.parent.mkdir(exist_ok=True)
        return world

    def run(world: World, seconds: float = 240.0):
        return forks.run(world.words(name), cwd=world.base, env=world.environment, seconds=seconds, number=9)

    whole = made(0)
    before, began = whole.tree(), time.monotonic()
    sound(run(whole))
    took = time.monotonic() - began
    if whole.tree() == before:
        return  # it writes nothing
    chance = random.Random(name)
    for number in range(1, KILLS + 1):
        world = made(number)
        run(world, took * chance.uniform(0.05, 0.95))
        settings = settings_of(world)
        check_offered(settings)
        sound(forks.run(["models"], cwd=world.base, env=world.environment))
        assert sound(forks.run(["tidy", "--yes"], cwd=world.base, env=world.environment))
        folders = [settings.models, settings.runs, settings.data, settings.workspace]
        assert not tidy.leftovers([*folders, Path(world.environment["TMPDIR"])])
        left = [path for path in world.base.rglob("*") if path.name.endswith((".tmp", ".old", PREPARING))]
        assert not left
        assert not list(Path(world.environment["TMPDIR"]).iterdir())
        sound(run(world))  # it goes on, or is told of what is there
        check_offered(settings)
