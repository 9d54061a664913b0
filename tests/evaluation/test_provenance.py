"""What a report says of its data, its model, its machine and its command."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import lungvae_core
from lungvae_core.data.counted import Counted
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.provenance import data_part, hardware, provenance


def test_the_data_are_counted_with_and_without_a_label(tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    labels = np.full(len(data), np.nan)
    labels[:10], labels[10:15] = 1, 0  # patients of five slices each
    part = data_part(data.table, data.info, labels, Counted(used=15, left_out={"no label": 105}))
    assert (part["name"], part["content_hash"]) == ("tiny discs", data.info.content_hash)
    assert (part["slices"], part["nodules"], part["patients"]) == (120, 24, 24)
    assert part["labelled"] == {"slices": 15, "nodules": 3, "patients": 3, "malignant_nodules": 2}
    assert part["counted"]["left_out"] == {"no label": 105}


def test_the_command_is_the_one_that_runs_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "evaluate", "--data", "a folder"])
    made = provenance(time.monotonic() - 2)
    assert made["command"] == "lungvae evaluate --data 'a folder'"
    assert made["seconds"] == pytest.approx(2, abs=1)
    assert made["versions"]["lungvae"] == lungvae_core.__version__
    assert made["versions"]["numpy"] == np.__version__
    assert datetime.fromisoformat(made["created"]).tzinfo is not None
    assert provenance(0, "lungvae validate")["command"] == "lungvae validate"


def test_the_hardware_is_named_also_where_the_processor_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert " cores (" in hardware()
    assert f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB" in hardware()

    def missing(*_: object, **__: object) -> str:
        raise OSError("no /proc")

    monkeypatch.setattr(Path, "read_text", missing)
    assert " cores (" in hardware()
