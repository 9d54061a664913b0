"""A run is deleted whole, once, and not while it is used."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Map
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.removal import delete_run
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tiny_models, tiny_data, tmp_path):
    shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "runs" / "mine")
    folders = {name: tmp_path / name for name in ("models", "runs", "workspace")}
    shutil.copytree(tiny_models / "tiny-gvae", folders["models"] / "shipped")
    return Settings(**folders, data=tiny_data.parent)


def at_once(count: int, act: Callable[[int], object]) -> list[str]:
    """What each of so many threads gets that act at the same moment: "done", or why not."""
    gate = threading.Barrier(count)

    def attempt(number: int) -> str:
        gate.wait()
        try:
            act(number)
        except UserError as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(attempt, range(count)))


def test_a_deleted_run_is_gone_and_on_record(settings):
    registry = Registry(settings)
    assert "mine" in [entry.name for entry in registry.entries()]
    delete_run(settings, "mine")
    assert [entry.name for entry in registry.entries()] == ["shipped"]
    assert list(settings.runs.iterdir()) == []
    (line,) = audit.read(settings)
    assert (line.what, line.detail) == (audit.DELETE, "run mine")
    with pytest.raises(UserError, match="no model 'mine'"):
        registry.load("mine")


@pytest.mark.parametrize(
    ("name", "says"),
    [("shipped", "ships with"), ("other", "no run"), ("../models/shipped", "no run"), ("", "no run")],
)
def test_only_ones_own_runs_are_deleted(settings, name, says):
    with pytest.raises(UserError, match=says):
        delete_run(settings, name)
    assert (settings.models / "shipped" / "config.json").exists()
    assert (settings.runs / "mine" / "config.json").exists()


def test_of_many_who_delete_at_once_one_does(settings):
    results = at_once(8, lambda _: delete_run(settings, "mine"))
    assert results.count("done") == 1
    assert len(audit.read(settings, what=audit.DELETE)) == 1
    assert list(settings.runs.iterdir()) == []


def test_a_run_in_use_stays(settings, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    monkeypatch.setattr(Jobs, "_checked", lambda self, job: job)
    job = Jobs(settings).start(Map.of, "0" * 16, settings.runs / "mine", "slice", "pca", 2, {})
    with pytest.raises(UserError, match=f"in use: job {job.id}, map"):
        delete_run(settings, "mine")
    Jobs(settings).stop(job.id)
    with (settings.runs / "mine" / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="a command writes in it"):
            delete_run(settings, "mine")
    delete_run(settings, "mine")


def test_of_many_who_name_a_set_alike_one_does(settings):
    from lungvae_core.serving.lesions import sets

    model = Registry(settings).load("mine")
    results = at_once(6, lambda number: sets.save(settings, model, "spiculated", [number]))
    assert results.count("done") == 1
    assert sum("There is a set" in each for each in results) == 5
