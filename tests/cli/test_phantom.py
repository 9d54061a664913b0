"""`lungvae phantom`: what it prints, and that an interrupt leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest


def lungvae(*arguments):
    command = [sys.executable, "-c", "from lungvae_core.cli import main; main()", "phantom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_command(tmp_path):
    out = str(tmp_path / "set")
    done = lungvae("--out", out, "--factors", "independent", "--count", "10", "--seed", "4", "--workers", "1")
    assert (done.returncode, "10 generated slices of 3 nodules" in done.stdout) == (0, True)
    for wrong in (
        ["--out", out],
        ["--out", out + "2", "--factors", "x"],
        ["--out", out + "2", "--count", "0"],
    ):
        refused = lungvae(*wrong)
        assert refused.returncode == 2
        assert refused.stderr.startswith("Error: ")
        assert "Traceback" not in refused.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", "from lungvae_core.cli import main; main()", "phantom"]
    options = ["--out", str(tmp_path / "set"), "--factors", "independent", "--workers", "2"]
    running = subprocess.Popen(
        [*command, *options],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert list(tmp_path.iterdir()) == []
