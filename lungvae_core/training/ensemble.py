"""Several classifiers of one run and the patients each was fitted on: of the folds, and of the intervals.

The folds' (`folds.safetensors`) are those of the cross-validation: each patient with a label has exactly one
that did not learn from it, which scores this patient's lesions wherever they are shown.

The bands' (`ensemble.safetensors`) show how much a score depends on the patients that its classifier was
fitted on: each member is of the run's own kind, fitted on as many patients as there are, drawn with
replacement (Efron 1979, doi 10.1214/aos/1176344552). A member leaves out about 37 % of the patients, so that
the band of a patient of the set can come from members that never saw that patient's label. The band covers
the sampling of patients only: not the encoder's training, the readers, or cancer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from scipy.special import expit

from lungvae_core.statistics.patients import draw_counts
from lungvae_core.training.checkpoints import Run, fitting, load_members, save_members
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    classifier_of,
    fit_classifier,
)
from lungvae_core.training.inputs import Inputs
from lungvae_core.training.stacked import StackedClassifiers
from lungvae_core.workers import unordered

FILE = "ensemble.safetensors"
FOLDS = "folds.safetensors"
MEMBERS = 30
COVERS = 0.9  # of the members, between a band's ends
MOST_MEMBERS = 1000  # that are read
FEWEST = 5  # members from which a band is made


@dataclass(frozen=True)
class Ensemble:
    """Classifiers of one run, and whose labels each of them learned from."""

    members: tuple[Classifier, ...]
    patients: tuple[str, ...]  # P, those with labels
    drew: np.ndarray  # (members, P) bool: whether a member learned from that patient

    _stacked: StackedClassifiers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stacked", StackedClassifiers(self.members))
        self.drew.setflags(write=False)

    def scores(self, codes: np.ndarray) -> np.ndarray:
        """(members, N) scores 0..1 of codes (N, K)."""
        return expit(self._stacked.logits(codes).astype(np.float64))

    def unseen(self, patient: str | None) -> np.ndarray:
        """(members,) bool: those that did not learn from `patient`; all where it is none of the set's."""
        if patient is None or patient not in self.patients:
            return np.ones(len(self.members), bool)
        return ~self.drew[:, self.patients.index(patient)]

    def stranger_to(self, patient: str) -> Classifier | None:
        """The first member that did not learn from `patient`; None for a patient without a label here."""
        if patient not in self.patients:
            return None
        strangers = np.flatnonzero(self.unseen(patient))
        return self.members[int(strangers[0])] if len(strangers) else None

    def band(self, codes: np.ndarray, *, patient: str | None = None) -> np.ndarray | None:
        """(N, 2) the range of the scores of 90 % of the members, for codes (N, K).

        None where fewer than five members did not learn from `patient`.
        """
        return self.band_of(self.scores(codes), patient=patient)

    def band_of(self, scores: np.ndarray, *, patient: str | None = None) -> np.ndarray | None:
        """(N, 2) the band of `scores` (members, N), which may be means over a nodule's slices."""
        unseen = self.unseen(patient)
        if unseen.sum() < FEWEST:
            return None
        share = (1 - COVERS) / 2
        return np.quantile(scores[unseen], [share, 1 - share], axis=0).T


def fit_ensemble(
    codes: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    config: ClassifierConfig,
    inputs: Inputs,
    *,
    members: int = MEMBERS,
    workers: int | None = 1,
    ray: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Ensemble | None:
    """Fit `members` classifiers on codes (N, K), labels (N,) of 0 and 1, of resampled patients (N,).

    The same configuration gives the same members, with any number of workers. None where hardly any draw has
    both classes, as with a handful of patients.
    """
    names = np.array(sorted({str(patient) for patient in patients}))
    place = np.searchsorted(names, np.asarray(patients, dtype=str))
    draws = draw_counts(len(names), members, seed=[config.seed, members])
    tasks = []
    for member, times in enumerate(draws):
        rows = np.repeat(np.arange(len(labels)), times[place])
        if len(rows) and 0 < labels[rows].mean() < 1:
            tasks.append((member, rows, config.model_copy(update={"seed": config.seed + member})))
    if len(tasks) < members / 2:
        return None
    fitted: dict[int, Classifier] = {}
    fit = partial(_fit, codes, labels, inputs)
    for (member, _, _), classifier in unordered(fit, tasks, workers, ray=ray):
        fitted[member] = classifier
        on_progress(len(fitted), len(tasks))
    kept = sorted(fitted)
    return Ensemble(tuple(fitted[member] for member in kept), tuple(names.tolist()), draws[kept] > 0)


_Task = tuple[int, np.ndarray, ClassifierConfig]


def _fit(codes: np.ndarray, labels: np.ndarray, inputs: Inputs, task: _Task) -> tuple[_Task, Classifier]:
    _, rows, config = task
    return task, fit_classifier(codes[rows], labels[rows], config, inputs)


def save_ensemble(run: Run, ensemble: Ensemble, file: str = FILE) -> None:
    """Write FILE into the run, in half precision, which is enough for a band; or FOLDS, exactly."""
    first = ensemble.members[0]
    state = {
        "config": first.config.model_dump(),
        **first.inputs.state,
        "dimensions": first.dimensions,
        "patients": list(ensemble.patients),
    }
    members = (
        [copy.deepcopy(member).half() for member in ensemble.members] if file == FILE else ensemble.members
    )
    drew = torch.tensor(ensemble.drew.astype(np.uint8))
    save_members(run.folder / file, members, state, {"drew": drew})


def load_ensemble(run: Run, file: str = FILE) -> Ensemble | None:
    """The run's ensemble in FILE or FOLDS, or None when it has none; UserError when damaged."""
    if not run.has(file):
        return None
    path = run.folder / file
    with fitting(path):
        members, patients, tensors = load_members(
            path,
            partial(classifier_of, run),
            lambda count, length: {"drew": torch.empty((count, length), dtype=torch.uint8, device="meta")},
            most=MOST_MEMBERS,
            what="classifiers",
        )
        return Ensemble(tuple(members), tuple(patients), tensors["drew"].numpy().astype(bool))
