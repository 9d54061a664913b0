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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from lungvae_core.statistics.patients import draw_counts
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import Classifier, ClassifierConfig, fit_classifier
from lungvae_core.training.inputs import Inputs, load_members, save_members
from lungvae_core.training.weights_file import fitting
from lungvae_core.workers import unordered

FILE = "ensemble.safetensors"
FOLDS = "folds.safetensors"
MEMBERS = 30
COVERS = 0.9  # of the members, between a band's ends
MOST_MEMBERS = 1000  # that are read
FEWEST = 5  # members from which a band is made
CHUNK = 256  # codes at a time, which bounds memory


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
        strangers = np.flatnonzero(self.unseen(patient))
        return self.members[strangers[0]] if patient in self.patients and len(strangers) else None

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
    members: Sequence[Classifier] = ensemble.members
    if file == FILE:
        members = [copy.deepcopy(member).half() for member in members]
    drew = torch.tensor(ensemble.drew.astype(np.uint8))
    save_members(run.folder / file, members, ensemble.patients, {"drew": drew})


def load_ensemble(run: Run, file: str = FILE) -> Ensemble | None:
    """The run's ensemble in FILE or FOLDS, or None when it has none; UserError when damaged."""
    if not run.has(file):
        return None
    path = run.folder / file
    with fitting(path):
        members, patients, tensors = load_members(
            path,
            partial(Classifier.empty, run),
            lambda count, length: {"drew": torch.empty((count, length), dtype=torch.uint8, device="meta")},
            most=MOST_MEMBERS,
            what="classifiers",
        )
        return Ensemble(tuple(members), tuple(patients), tensors["drew"].numpy().astype(bool))


class StackedClassifiers:
    """M classifiers of one configuration, in evaluation mode, computed together: a matrix product a layer.

    Batch norm comes after the activation, so in evaluation it is a scale and a shift that fold into the next
    layer's weights. The weights are copied here and never change, so any number of threads may use them.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        # Classifiers of one run read the same numbers of its codes.
        self._inputs = members[0].inputs
        self._axes = None if members[0].axes is None else members[0].axes.detach().float()
        self._mean = torch.stack([member.mean.detach() for member in members])[:, None]  # (M, 1, K)
        self._deviation = torch.stack([member.deviation.detach() for member in members])[:, None]
        layers = zip(*(_folded(member.body) for member in members), strict=True)
        self._layers = tuple(
            (
                torch.stack([weight for weight, _ in layer]).float(),  # (M, inputs, outputs)
                torch.stack([bias for _, bias in layer]).float()[:, None],  # (M, 1, outputs)
            )
            for layer in layers
        )

    @torch.inference_mode()
    def logits(self, codes: np.ndarray) -> np.ndarray:
        """(M, N) float32 logits of codes (N, K)."""
        inputs = torch.tensor(np.asarray(codes), dtype=torch.float32)
        return torch.cat([self._of(part) for part in inputs.split(CHUNK)], dim=1).numpy()

    def _of(self, codes: Tensor) -> Tensor:
        values = (self._inputs.of(codes, self._axes) - self._mean) / self._deviation  # (M, N, K)
        for number, (weight, bias) in enumerate(self._layers):
            values = torch.baddbmm(bias, nn.functional.gelu(values) if number else values, weight)
        return values[..., 0]


def _folded(body: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """(weight (inputs, outputs), bias (outputs,)) float64 of each layer of a classifier's body."""
    layers: list[tuple[Tensor, Tensor]] = []
    before: tuple[Tensor, Tensor] | None = None  # scale and shift of the batch norm before the layer
    for module in body:
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = module.weight.detach().double() / (module.running_var.double() + module.eps).sqrt()
            before = scale, module.bias.detach().double() - module.running_mean.double() * scale
        elif isinstance(module, nn.Linear):
            weight, bias = module.weight.detach().double(), module.bias.detach().double()
            if before is not None:
                scale, shift = before
                bias, weight = bias + weight @ shift, weight * scale
            layers.append((weight.T, bias))
            before = None
    return layers
