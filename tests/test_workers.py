"""Tasks run on several processes; a worker that dies is replaced, and what a task raises is told."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.workers import RETRIES, WorkerLost, cores, here, pool, unordered


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    if number == 3:
        raise UserError("Three is refused.")
    return number


def fail() -> None:
    raise KeyError("a defect")


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die(marks: Path, deaths: int) -> int:
    """Kill this worker the first `deaths` times; then say which attempt it was."""
    attempt = len(list(marks.iterdir())) + 1
    (marks / str(attempt)).touch()
    if attempt <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_once_and_never_many_ahead(workers: int) -> None:
    taken = 0

    def items():
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    results = unordered(double, items(), workers)
    found = [next(results)]
    assert taken <= 2 * workers + 3
    found += results
    assert sorted(found) == [2 * number for number in range(20)]
    assert list(unordered(double, [], workers)) == []


def test_tokens_come_back_with_their_results() -> None:
    with pool(2) as at_work:
        for number in range(5):
            at_work.submit(f"task {number}", double, number)
        found = dict(at_work.wait() for _ in range(5))
        with pytest.raises(LookupError):
            at_work.wait()
    assert found == {f"task {number}": 2 * number for number in range(5)}


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_a_task_are_raised(workers: int) -> None:
    with pytest.raises(UserError, match=r"^Three is refused\.$"):
        list(unordered(refuse, range(6), workers))
    with pool(workers) as at_work:
        at_work.submit(0, fail)
        with pytest.raises(KeyError, match="a defect"):
            at_work.wait()
        at_work.submit(1, double, 4)  # its worker is still of use
        assert at_work.wait() == (1, 8)


@pytest.mark.long
def test_a_worker_that_dies_is_replaced_and_only_its_task_is_done_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with pool(2) as at_work:
        at_work.submit("good", pid_after, 3.0)
        at_work.submit("killed", die, marks, 2)
        found = dict(at_work.wait() for _ in range(2))
    assert found["killed"] == 3
    assert at_work.restarts == {"killed": 2}


def test_a_task_that_always_dies_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with pool(1) as at_work:
        at_work.submit("hopeless", die, marks, 99)
        at_work.submit("good", double, 4)
        with pytest.raises(WorkerLost, match="lack of memory") as caught:
            at_work.wait()
        assert caught.value.token == "hopeless"
        assert at_work.wait() == ("good", 8)
    assert len(list(marks.iterdir())) == RETRIES + 1


def test_waiting_has_an_end() -> None:
    with pool(1) as at_work:
        at_work.submit(0, pid_after, 30)
        began = time.monotonic()
        assert at_work.wait(0.2) is None
        assert time.monotonic() - began < 5
    assert time.monotonic() - began < 15  # what is in hand is dropped


@pytest.mark.long
def test_workers_end_with_their_parent() -> None:
    code = (
        "import sys; from lungvae_core.workers import pool\n"
        "from tests.test_workers import pid_after\n"
        "with pool(1) as at_work:\n"
        "    at_work.submit(0, pid_after, 0); print(at_work.wait()[1], flush=True)\n"
        "    at_work.submit(0, pid_after, 60); at_work.wait()\n"
    )
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in itertools.repeat(None, 100):
        if not Path(f"/proc/{child}").exists() and not _alive(child):
            break
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_bad_numbers_and_a_missing_ray_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, said in (({"workers": 0}, "0 workers"), ({"threads": 0}, "0 threads")):
        with pytest.raises(UserError, match=said), pool(**options):
            pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'lungvae\[cluster\]'"), pool(ray="auto"):
        pass
    assert here().endswith(f"/{os.getpid()}")
    assert cores() >= 1


def test_a_cluster_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="ray start --head"), pool(ray="127.0.0.1:1"):
        pass
    with pytest.raises(UserError, match="ray start --head"), pool(ray="not an address"):
        pass
