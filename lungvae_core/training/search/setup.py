"""A search's settings, kept in its search.json, and the split of its patients."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, ValidationError

from lungvae_core.data.counted import Counted, labelled_rows, left_out_before
from lungvae_core.data.slices import SliceSet, malignant
from lungvae_core.data.splits import grouped_folds, holdout
from lungvae_core.errors import UserError
from lungvae_core.files import read_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import left_out_of
from lungvae_core.training.search import spaces
from lungvae_core.training.search.options import SearchOptions
from lungvae_core.training.search.spaces import Parameter, Space

FORMAT = 1
ETA = 3  # of the trials of a rung, one in this many goes on to the next (Li et al., arXiv 1810.05934)
NOISE = 0.1  # deviation of a pixel under the likelihood that `elbo` is measured with, on the 0..1 scale

# objective: (higher is better, what it is)
OBJECTIVES = {
    "auc": (True, "AUC per slice, malignant against benign, of a classifier on the codes"),
    "ssim": (True, "SSIM of the reconstructions, 0..1 of the HU window"),
    "mse": (False, "MSE of the reconstructions, 0..1 of the HU window"),
    "elbo": (True, f"ELBO in nats a slice, pixels Gaussian of deviation {NOISE} on 0..1, beta 1"),
    "balanced_accuracy": (True, "mean of sensitivity and specificity per slice, at the best threshold"),
}
OF_PIXELS = ("ssim", "mse", "elbo")  # they depend on the HU window
OF_CODES = ("auc", "balanced_accuracy")


class SearchConfig(SearchOptions):
    """search.json: everything that determines a search's proposals and evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    space: str
    parameters: dict[str, Parameter]
    fixed: dict[str, Any] = Field(default={})
    data: str  # folder of the data set; of the run with the codes where an MLP is searched
    data_name: str = ""
    data_hash: str = ""

    @property
    def of(self) -> Space:
        """The space that is searched."""
        return spaces.space(self.space)

    @property
    def maximise(self) -> bool:
        """Whether a higher value of the objective is better."""
        return OBJECTIVES[self.objective][0]

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is trained to its end; an MLP counts as one."""
        if self.of.of_codes:
            return 1
        return spaces.configure(self.of, self.fixed_settings()).epochs

    @property
    def rungs(self) -> list[int]:
        """The epochs after which a trial is evaluated; the last is all of them."""
        return rungs(self.epochs, self.min_epochs) if self.halving else [self.epochs]

    def fixed_settings(self) -> dict[str, Any]:
        """The fixed settings that are fields of the configuration."""
        return {name: value for name, value in self.fixed.items() if name not in spaces.DECIDES}

    def notices(self) -> list[str]:
        """What a reader of the results must know, in sentences."""
        notices = []
        if self.objective in OF_PIXELS and {"hu_low", "hu_high"} & self.parameters.keys():
            notices.append(
                f"The HU window is being searched, and {self.objective.upper()} depends on it: a narrow "
                "window clips noise away and looks better. Compare trials of one window, or search by "
                "--objective auc."
            )
        if self.of.of_codes and self._run_saw_labels():
            notices.append(
                "The run's encoder was trained with labels. Of patients whose labels it saw, the figures "
                "here are too good."
            )
        return notices

    def _run_saw_labels(self) -> bool:
        with contextlib.suppress(UserError):
            return Run.open(self.data).config.labels_shape_codes
        return False


def make(
    base: Space,
    data: str | Path,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    choices: Mapping[str, tuple[Any, ...]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    **options: Any,
) -> SearchConfig:
    """A search's settings: of `base`, narrowed or widened, with defaults that fit it; UserError on a bad one.

    `data` is a data set's folder, or a run's for the MLPs' spaces; `options` are fields of SearchConfig.
    """
    fixed = dict(fixed or {})
    parameters = spaces.narrowed(base, ranges=ranges, choices=choices, fixed=fixed)
    objective = "ssim" if base.name in ("gvae", "dirvae") else "auc"
    start = {"objective": objective, "folds": 5 if base.of_codes else 1}
    own = {"space": base.name, "parameters": parameters, "fixed": fixed, "data": str(Path(data).resolve())}
    try:
        config = SearchConfig.model_validate({**start, **options, **own})
    except ValidationError as error:
        item = error.errors()[0]
        where = "-".join(str(part) for part in item["loc"]).replace("_", "-")
        raise UserError(f"The search's {where} is not valid: {item['msg']}.") from error
    if config.objective not in OBJECTIVES:
        raise UserError(
            f"There is no objective {config.objective!r}. Choose one of: {', '.join(OBJECTIVES)}."
        )
    if config.halving and len(config.rungs) == 1:
        raise UserError(
            f"{config.epochs} epoch(s) with --min-epochs {config.min_epochs} leave nothing to halve. Use "
            "more epochs, a lower --min-epochs, or leave out --halving."
        )
    return config


def winner(config: SearchConfig, settings: Mapping[str, Any], name: str) -> list[str]:
    """The command, as a list of words, that trains a trial's settings again; a VAE as the run `NAME-best`."""
    command = ["lungvae", "train", "--preset", config.of.preset, "--data", config.data]
    command += ["--out", f"runs/{name}-best"]
    values = {"seed": config.seed, **settings}
    if config.of.of_codes:
        command = ["lungvae", "classify", config.data]
        mlp = spaces.configure_mlp(config.of, values).model_dump(mode="json")
        usual = ClassifierConfig().model_dump(mode="json")
        values = {key: value for key, value in mlp.items() if value != usual[key]}
    for key, value in values.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    return command


def rungs(epochs: int, min_epochs: int = 0) -> list[int]:
    """Epochs of the rungs of successive halving, ETA times apart, the first at least `min_epochs`.

    >>> rungs(30), rungs(4), rungs(30, 2)
    ([4, 10, 30], [1, 2, 4], [2, 4, 10, 30])
    """
    least = min_epochs or max(1, math.ceil(epochs / ETA**2))
    rungs = [epochs]
    while (lower := math.ceil(rungs[0] / ETA)) >= least and lower < rungs[0]:
        rungs.insert(0, lower)
    return rungs


@dataclass(frozen=True)
class Patients:
    """Rows of a table by their use in a search; no patient is in two parts of one split."""

    test: np.ndarray  # set aside: no trial sees them
    rest: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]  # (training rows, validation rows) of the rest


def split(table: pd.DataFrame, config: SearchConfig) -> Patients:
    """Set patients aside and split the others; UserError where there are too few."""
    rest, test = holdout(table, fraction=config.test_fraction, seed=config.seed)
    inner = table.iloc[rest].reset_index(drop=True)
    if config.folds == 1:
        fraction = 0.2
        if not config.of.of_codes:
            fraction = spaces.configure(config.of, config.fixed_settings()).training.validation_fraction
        parts = [holdout(inner, fraction=fraction, seed=config.seed)]
    else:
        parts = list(grouped_folds(inner, config.folds, seed=config.seed))
    return Patients(test, rest, [(rest[train], rest[validation]) for train, validation in parts])


def counted(config: SearchConfig) -> Counted:
    """Slices used to train and choose trials, and why the others are not."""
    if config.of.of_codes:
        run = Run.open(config.data)
        table, _ = run.latents()
        before = left_out_of(run, table)
    else:
        data = SliceSet.open(config.data, verify=False)
        table, before = data.table, left_out_before(data.info.details)
    patients = split(table, config)
    rest = table.iloc[patients.rest].reset_index(drop=True)
    before = {**before, "of patients set aside": len(patients.test)}
    if config.objective in OF_CODES:
        return labelled_rows(rest, malignant(rest), "mvb", "median_high", before=before)
    return Counted(used=len(rest), left_out=before)


def open_search(folder: str | Path) -> SearchConfig:
    """The settings of the search in `folder`; UserError when there is none or it is damaged."""
    folder = Path(folder)
    if not (folder / "search.json").is_file():
        raise UserError(f"{folder} holds no search: it has no search.json. Name a search's folder.")
    raw = read_json(folder / "search.json", what="The search's settings")
    if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
        raise UserError(f"The search {folder} is of a later version of lungvae. Update lungvae.")
    try:
        return SearchConfig.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"The search {folder} is damaged: search.json lacks fields or has others.") from error
