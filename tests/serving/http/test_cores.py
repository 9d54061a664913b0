"""The server computes on one core a thread: threads of many people that share cores wait for each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COUNT = """
import app, json, threading, torch
from threadpoolctl import threadpool_info
counts = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
later.start(); later.join()
print(json.dumps(counts))
"""


@pytest.mark.long
def test_every_thread_of_the_server_computes_on_one_core(tmp_path):
    folders = {f"LUNGVAE_{name}": str(tmp_path / name) for name in ("RUNS", "WORKSPACE")}
    many = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        env=os.environ | folders | many,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert len(counts) > 1
    assert set(counts) == {1}
