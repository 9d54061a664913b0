"""Faults for real: processes killed, a disk filled, the server started anew. Nothing finished is lost.

Each test prints what it did and what was lost; docs/RELIABILITY.md has the figures.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Training
from lungvae_core.serving.jobs.progress import read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, RUNNING, Job
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.weights_file import load_tensors
from tests.conftest import ROOT, wait
from tests.running import free_port

KILLS = 6
TINY = {"width": 4, "dimensions": 2, "batch_size": 32}

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def settings(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Folders of the test's own; jobs that are left are killed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    folders = {name: tmp_path / name for name in ("models", "runs", "workspace")}
    found = Settings(**folders, data=tiny_data.parent)
    yield found
    with contextlib.suppress(UserError):
        for job in Jobs(found).all():
            kill(job)


def kill(job: Job) -> None:
    """SIGKILL to all processes of a job at once."""
    if job.active and job.keeper:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.keeper, signal.SIGKILL)


def start(settings: Settings, data: Path, name: str, **changes: object) -> Job:
    changes = {**TINY, **changes}
    return Jobs(settings).start(
        Training.of, name, data, "gvae", changes, device="cpu", threads=1, finish=False
    )


@contextlib.contextmanager
def server(settings: Settings, port: int) -> Iterator[subprocess.Popen]:
    """The app on that port, answering."""
    names = ("models", "runs", "data", "workspace")
    environment = os.environ | {f"LUNGVAE_{name.upper()}": str(getattr(settings, name)) for name in names}
    command = [sys.executable, "-m", "lungvae_core.cli", "app", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as answer:
                return b'"ok"' in answer.read()
        except OSError:
            return False

    try:
        wait(answers)
        yield process
    finally:
        process.kill()
        process.wait()


def epochs(job: Job) -> list[int]:
    state = read_state(job.folder)
    return [] if state is None else [row["epoch"] for row in state.rows]


def test_all_processes_are_killed_again_and_again(settings, tiny_data):
    chance = random.Random(5)
    job = start(settings, tiny_data, "killed", epochs=60)
    jobs = Jobs(settings)
    lost = []
    for _ in range(KILLS):
        with server(settings, free_port()):
            begun = len(epochs(job))
            wait(lambda before=begun: len(epochs(job)) >= before + 3 or not jobs.get(job.id).active)
            time.sleep(chance.uniform(0, 0.4))
            before = epochs(job)
            kill(jobs.get(job.id))
            # Leaving kills the server, too.
        with server(settings, free_port()):
            found = jobs.get(job.id)
            assert found.status == FAILED
            assert "ended without a word" in found.message
            assert "Resume goes on" in found.message
            kept = Run.open(job.folder).metrics()  # readable, whatever moment it was
            load_tensors(Path(job.folder) / "last.safetensors")
            lost.append(len(before) - len(kept))
            jobs.resume(job.id)
    wait(lambda: not jobs.get(job.id).active)
    assert jobs.get(job.id).status == DONE
    rows = Run.open(job.folder).metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 61))
    assert not [path.name for path in Path(job.folder).rglob("*") if path.name.endswith((".tmp", ".part"))]
    assert max(lost) <= 0
    print(f"{KILLS} kills of server, keeper and training: finished epochs lost {lost}")


def test_the_server_alone_is_killed_and_the_training_goes_on(settings, tiny_data):
    with server(settings, free_port()) as process:
        job = start(settings, tiny_data, "going", epochs=40)
        wait(lambda: len(epochs(job)) >= 2)
        running = Jobs(settings).get(job.id).pid
        process.send_signal(signal.SIGKILL)
        process.wait()
    seen = len(epochs(job))
    with server(settings, free_port()):
        found = Jobs(settings).get(job.id)
        assert found.status in (RUNNING, DONE)
        assert found.pid in (running, None)
    wait(lambda: not Jobs(settings).get(job.id).active)
    assert Jobs(settings).get(job.id).status == DONE
    assert epochs(job) == list(range(1, 41))
    print(f"server killed after {seen} of 40 epochs; the training ended all of them")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing is left; the file that holds the space."""
    path = folder / "full"
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(2**16))
    with path.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"0")
    return path


def test_a_disk_that_fills_stops_with_a_sentence_and_the_last_state(small_disk, tiny_data, tmp_path):
    on_disk = Settings(
        models=tmp_path / "models",
        runs=small_disk / "runs",
        data=tiny_data.parent,
        workspace=tmp_path / "workspace",
    )
    jobs = Jobs(on_disk)
    job = start(on_disk, tiny_data, "full", epochs=30, width=8)
    wait(lambda: len(epochs(job)) >= 3)
    full = fill(small_disk)
    wait(lambda: not jobs.get(job.id).active)
    found = jobs.get(job.id)
    assert found.status == FAILED
    assert "space" in found.message.lower()
    assert "Traceback" not in jobs.output(found, 50)
    load_tensors(Path(job.folder) / "last.safetensors")
    kept = len(Run.open(job.folder).metrics())
    full.unlink()
    jobs.resume(job.id)
    wait(lambda: not jobs.get(job.id).active)
    assert jobs.get(job.id).status == DONE
    assert epochs(job) == list(range(1, 31))
    print(f"disk full after {kept} epochs: {found.message!r}; resumed to all 30")


def test_a_workspace_without_space_says_so_and_keeps_what_it_has(small_disk, tiny_data, tmp_path):
    on_disk = Settings(
        models=tmp_path / "models", runs=tmp_path / "runs", data=tiny_data.parent, workspace=small_disk / "w"
    )
    jobs = Jobs(on_disk)
    first = start(on_disk, tiny_data, "first", epochs=2)
    wait(lambda: not jobs.get(first.id).active)
    full = fill(small_disk)

    def start_more() -> None:
        for number in range(200):  # the database has some pages to spare
            start(on_disk, tiny_data, f"more-{number}", epochs=1)
            wait(lambda: not any(job.active for job in jobs.all()))

    with pytest.raises(UserError, match=r"(?i)space|cannot be used|cannot write"):
        start_more()
    full.unlink()
    assert jobs.get(first.id).status == DONE
    again = start(on_disk, tiny_data, "again", epochs=1)
    wait(lambda: not jobs.get(again.id).active)
    assert jobs.get(again.id).status == DONE
