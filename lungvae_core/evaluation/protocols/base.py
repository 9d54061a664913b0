"""What every protocol provides, and the report built from it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import Counted, labelled_rows, left_out_before
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.baselines import available, nodule_sizes
from lungvae_core.evaluation.compare import comparisons, size_matched
from lungvae_core.evaluation.figures import unit_figures
from lungvae_core.evaluation.provenance import data_part, protocol_part, provenance
from lungvae_core.evaluation.report import REPORT_FORMAT
from lungvae_core.evaluation.subgroups import attributes_of, subgroups

# Sections that a protocol may fill.
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("nodule_rules", "per_seed", "stages", "size_matched", "calibration")),
    **dict.fromkeys(("reconstruction", "leak", "external", "diagnosis")),
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
    leaks: list[str]  # how the labels of tested patients reached the model
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
            **protocol_part(self.name, self.task, self.label_rule, self.data.table),
            "leaks": self.leaks,
            "transductive": self.transductive,
            "data": data_part(self.data.table, self.data.info, self.truth, self._counted()),
            "model": self.model(),
            "folds": self.folds_count,
            "seeds": self.seeds,
            "quick": self.quick,
            "nodule_rule": rule,
            "nodule_rule_in_words": rule_in_full,
            **sections,
            **provenance(self.began),
        }

    def draws(self, most: int | None = None) -> dict[str, Any]:
        """The arguments `resamples`, at most `most`, and `seed` of functions that resample patients."""
        return {"resamples": min(self.resamples, most or self.resamples), "seed": self.seeds[0]}

    def _counted(self) -> Counted:
        before = left_out_before(self.data.info.details)
        return labelled_rows(self.data.table, self.truth, self.task, self.label_rule, before=before)

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
        nodules = frames["nodule"]
        matched = None
        if "diameter" in available(table):
            sized = nodules[NODULE].merge(nodule_sizes("diameter", table), on=NODULE, how="left")
            matched = {"nodule": size_matched(nodules, sized["logit"].to_numpy(float), seed=self.seeds[0])}
        return {
            "units": {unit: unit_figures(frame, **self.draws()) for unit, frame in frames.items()},
            "baselines": baselines,
            "comparisons": comparisons(nodules, baselines, others, **self.draws()),
            "subgroups": subgroups(nodules, attributes_of(table, nodules, "nodule"), **self.draws(500)),
            "size_matched": matched,
        }
