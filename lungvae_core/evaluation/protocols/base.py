"""What every protocol provides, and the report built from it."""

from __future__ import annotations

import importlib
import os
import platform
import shlex
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

import lungvae_core
from lungvae_core.data.counted import labelled_rows, left_out_before
from lungvae_core.data.labels import TASKS, rule_in_words
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.baselines import NODULE, available, nodule_sizes
from lungvae_core.evaluation.compare import comparisons, size_matched
from lungvae_core.evaluation.figures import unit_figures
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.report import REPORT_FORMAT
from lungvae_core.evaluation.subgroups import attributes_of, subgroups
from lungvae_core.workers import cores

# Sections that a protocol may fill.
EMPTY: dict[str, Any] = {
    **dict.fromkeys(
        ("nodule_rules", "per_seed", "stages", "size_matched", "calibration", "reconstruction", "leak")
    ),
    **dict.fromkeys(("external", "diagnosis")),
    "baselines": {},
    "comparisons": {},
    "subgroups": {},
    "settings_chosen": [],
}


@dataclass(kw_only=True)
class Protocol(ABC):
    """One evaluation by a protocol, which makes a report."""

    name: ClassVar[str]  # a key of PROTOCOLS

    data: SliceSet
    truth: np.ndarray  # (N,) labels of the data's slices, NaN for slices left out
    task: str
    label_rule: str
    seeds: list[int]
    folds_count: int  # outer folds; 0 if nothing is trained
    quick: bool
    resamples: int  # of patients
    leaks: list[str]  # how the model knew what is tested
    began: float = field(default_factory=time.monotonic)

    @abstractmethod
    def model(self) -> dict[str, Any]:
        """The report's `model`: preset, config and name."""

    @abstractmethod
    def nodule_rule(self) -> tuple[str, str]:
        """(the rule from slices to a nodule, its description in words)."""

    @abstractmethod
    def sections(self) -> dict[str, Any] | None:
        """The sections with figures; None if stopped early."""

    @property
    @abstractmethod
    def transductive(self) -> bool:
        """Whether the encoder saw pixels of tested patients."""

    def report(self) -> dict[str, Any] | None:
        """The whole report (docs/evaluation.md); None if stopped early."""
        sections = self.sections()
        if sections is None:
            return None
        rule, rule_in_full = self.nodule_rule()
        return {
            **EMPTY,
            "format": REPORT_FORMAT,
            "protocol": self.name,
            "protocol_in_words": PROTOCOLS[self.name].in_full,
            "task": self.task,
            "task_in_words": TASKS[self.task],
            "label_rule": self.label_rule,
            "label_rule_in_words": rule_in_words(self.data.table, self.label_rule),
            "leaks": self.leaks,
            "transductive": self.transductive,
            "data": described(self.data, self.truth, self.task, self.label_rule),
            "model": self.model(),
            "folds": self.folds_count,
            "seeds": self.seeds,
            "quick": self.quick,
            "nodule_rule": rule,
            "nodule_rule_in_words": rule_in_full,
            **sections,
            "seconds": round(time.monotonic() - self.began, 1),
            "hardware": hardware(),
            "versions": {
                "lungvae": lungvae_core.__version__,
                "python": platform.python_version(),
                **{name: importlib.import_module(name).__version__ for name in ("torch", "numpy", "sklearn")},
            },
            "command": shlex.join(["lungvae", *sys.argv[1:]]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def model_sections(
        self,
        frames: dict[str, pd.DataFrame],
        baselines: dict[str, Any],
        others: dict[str, pd.DataFrame],
        table: pd.DataFrame,
    ) -> dict[str, Any]:
        """The model's own sections: units, baselines, comparisons, subgroups and the AUC at equal size.

        `frames` are the judged frames by unit. `baselines` is the report's section, and `others` has, for
        each baseline, one row per nodule with label and logit. `table` has one row per slice.
        """
        nodules, seed = frames["nodule"], self.seeds[0]
        matched = None
        if "diameter" in available(table):
            sized = nodules[NODULE].merge(nodule_sizes("diameter", table), on=NODULE, how="left")
            matched = {"nodule": size_matched(nodules, sized["logit"].to_numpy(float), seed=seed)}
        return {
            "units": {
                unit: unit_figures(frame, resamples=self.resamples, seed=seed)
                for unit, frame in frames.items()
            },
            "baselines": baselines,
            "comparisons": comparisons(nodules, baselines, others, resamples=self.resamples, seed=seed),
            "subgroups": subgroups(
                nodules,
                attributes_of(table, nodules, "nodule"),
                resamples=min(self.resamples, 500),
                seed=seed,
            ),
            "size_matched": matched,
        }


def described(data: SliceSet, labels: np.ndarray, task: str, rule: str) -> dict[str, Any]:
    """Describe the data behind the figures; `labels` (N,) are NaN for slices left out."""
    table = data.table
    known = table[~np.isnan(labels)]
    positive = table[labels == 1]

    def count(part: pd.DataFrame) -> dict[str, int]:
        return {
            "slices": len(part),
            "nodules": len(part[NODULE].drop_duplicates()),
            "patients": int(part["patient_id"].nunique()),
        }

    return {
        "name": data.info.name,
        "source": data.info.source,
        "attribution": data.info.attribution,
        "content_hash": data.info.content_hash,
        **count(table),
        "labelled": {**count(known), "malignant_nodules": count(positive)["nodules"]},
        "counted": labelled_rows(
            table, labels, task, rule, before=left_out_before(data.info.details)
        ).model_dump(),
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
