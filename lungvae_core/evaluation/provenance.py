"""What a report says of the data behind its figures, and of how, where and when it was made."""

from __future__ import annotations

import importlib
import os
import platform
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lungvae_core
from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import Counted
from lungvae_core.data.labels import TASKS, rule_in_words
from lungvae_core.data.slices import DatasetInfo
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.training.checkpoints import Run
from lungvae_core.workers import cores


def protocol_part(protocol: str, task: str, label_rule: str, table: pd.DataFrame) -> dict[str, Any]:
    """The report's protocol, task and label rule, by name and in words; `table` has the data's slices."""
    return {
        "protocol": protocol,
        "protocol_in_words": PROTOCOLS[protocol].in_full,
        "task": task,
        "task_in_words": TASKS[task],
        "label_rule": label_rule,
        "label_rule_in_words": rule_in_words(table, label_rule),
    }


def data_part(table: pd.DataFrame, info: DatasetInfo, labels: np.ndarray, counted: Counted) -> dict[str, Any]:
    """The report's `data`; `labels` (N,) of the N slices in `table` are NaN for those left out."""

    def count(part: pd.DataFrame) -> dict[str, int]:
        return {
            "slices": len(part),
            "nodules": len(part[NODULE].drop_duplicates()),
            "patients": int(part["patient_id"].nunique()),
        }

    labelled = count(table[~np.isnan(labels)])
    return {
        **info.model_dump(include={"name", "source", "attribution", "content_hash"}),
        **count(table),
        "labelled": {**labelled, "malignant_nodules": count(table[labels == 1])["nodules"]},
        "counted": counted.model_dump(),
    }


def run_model(run: Run, name: str = "") -> dict[str, Any]:
    """The report's `model`: a trained one under `name`, by default its title."""
    config = run.config.model_dump(mode="json", exclude={"preset": True})
    return {"preset": run.config.preset, "config": config, "name": name or run.info.title}


def provenance(began: float, command: str = "") -> dict[str, Any]:
    """Duration since `began` (of `time.monotonic`), machine, versions, date and the command.

    The command is by default the one that runs.
    """
    return {
        "seconds": round(time.monotonic() - began, 1),
        "hardware": hardware(),
        "versions": {
            "lungvae": lungvae_core.__version__,
            "python": platform.python_version(),
            **{name: importlib.import_module(name).__version__ for name in ("torch", "numpy", "sklearn")},
        },
        "command": command or shlex.join(["lungvae", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware() -> str:
    """A description of the computer in words."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = ""
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return f"{cores()} cores ({model}){memory}, {gpu}"
