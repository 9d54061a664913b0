"""`lungvae phantom`: what it prints, and that an interrupt leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.commands import lungvae


@pytest.mark.long
def test_the_command(tmp_path):
    out = str(tmp_path / "set")
    command = ["phantom", "--factors", "independent", "--count", "10", "--workers", "1"]
    done = lungvae(*command, "--out", out, "--seed", "4", cwd=tmp_path)
    assert (done.returncode, "10 generated slices of 3 nodules" in done.stdout) == (0, True)
    other = ["--out", out + "2"]
    for wrong in (["--out", out], [*other, "--factors", "x"], [*other, "--count", "0"]):
        refused = lungvae("phantom", *wrong, cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.startswith("Error: ")
        assert "Traceback" not in refused.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.long
def test_an_interrupt_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "lungvae_core.cli", "phantom", "--out", str(tmp_path / "set")]
    options = ["--factors", "independent", "--workers", "2"]
    running = subprocess.Popen([*command, *options], start_new_session=True, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert list(tmp_path.iterdir()) == []
