"""The whole suite fails where a command, a page or a job needed the program's last resort."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lungvae_core import faults
from tests import conftest
from tests.conftest import ROOT


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("faulty", "code"), [(False, 0), (True, 1)])
def test_a_fault_anywhere_fails_a_run_whose_tests_pass(faulty: bool, code: int, tmp_path: Path):
    counter = tmp_path / "faults"
    if faulty:
        counter.write_text("lungvae train\nTraceback")
    one = f"{ROOT}/tests/test_json_text.py::test_text_with_lone_surrogates_is_no_json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one]
    environment = os.environ | {faults.COUNTER: str(counter)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=280
    )
    assert done.returncode == code, done.stdout
    assert ("Commands ended in a fault" in done.stdout) == faulty


def test_what_decides_it_looks_at_the_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    session = SimpleNamespace(exitstatus=0)
    monkeypatch.setattr(conftest, "FAULTS", tmp_path / "faults")
    conftest.pytest_sessionfinish(session)
    assert session.exitstatus == 0
    (tmp_path / "faults").write_text("lungvae train\nTraceback")
    conftest.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
