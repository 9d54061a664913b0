"""The parsers under inputs bred by which code they reach; needs atheris, which is for Linux alone."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.readers import READERS

SECONDS = int(os.environ.get("LUNGVAE_FUZZ_SECONDS", 15))

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(120 + 2 * SECONDS),
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed"),
]


# A number of inputs is the same ones on any machine; a time is not, and goes on to new ones.
@pytest.mark.parametrize("much", [("--runs", "2000"), pytest.param((), marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_found(reader: str, much: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.guided", reader, "--seconds", str(SECONDS), *much]
    done = subprocess.run([*command, "--keep", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    tried = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    assert tried is not None, done.stderr[-1000:]
    print(f"{reader}: {tried[1]} inputs")
    assert int(tried[1]) > 20
    assert list(tmp_path.iterdir()) == []
