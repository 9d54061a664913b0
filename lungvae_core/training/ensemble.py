"""How far a score hangs on the patients that its classifier was fitted on.

Many classifiers: each member is of the run's own kind, fitted on as many patients as there are, drawn with
replacement (Efron 1979, doi 10.1214/aos/1176344552). A member leaves out about 37 % of the patients, so that
the band of a patient of the set can come from members that never saw that patient's label. The band tells of
the sampling of patients alone: not of the encoder's training, of the readers, or of cancer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run, load_tensors, save_tensors
from lungvae_core.training.classifier import Classifier, ClassifierConfig, fit_classifier
from lungvae_core.workers import unordered

FILE = "ensemble.safetensors"
MEMBERS = 30
COVERS = 0.9  # of the members, between a band's ends
FEWEST = 5  # members from which a band is made
FEW = 32  # codes up to which calls take longer than arithmetic


@dataclass(frozen=True)
class Ensemble:
    """Classifiers of one run, and whose labels each of them learned from."""

    members: tuple[Classifier, ...]
    patients: tuple[str, ...]  # P, those with labels
    drew: np.ndarray  # (members, P) bool: whether a member learned from that patient

    def scores(self, codes: np.ndarray) -> np.ndarray:
        """(members, N) scores 0..1 of codes (N, K)."""
        if len(codes) > FEW:
            return expit(np.stack([member.logits(codes) for member in self.members]).astype(np.float64))
        inputs = torch.tensor(np.asarray(codes), dtype=torch.float32)
        with torch.inference_mode():
            return expit(self._together(inputs).numpy().astype(np.float64))

    @cached_property
    def _together(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Codes (N, K) to logits (members, N), the members stacked: fewer calls, slower for many codes."""
        members = [member.eval() for member in self.members]
        weights, buffers = torch.func.stack_module_state(list[torch.nn.Module](members))

        def one(own: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], codes: torch.Tensor) -> Any:
            return torch.func.functional_call(members[0], (own, theirs), (codes,))

        return partial(torch.func.vmap(one, in_dims=(0, 0, None)), weights, buffers)

    def unseen(self, patient: str | None) -> np.ndarray:
        """(members,) bool: those that did not learn from `patient`; all where it is none of the set's."""
        if patient is None or patient not in self.patients:
            return np.ones(len(self.members), bool)
        return ~self.drew[:, self.patients.index(patient)]

    def band(self, codes: np.ndarray, *, patient: str | None = None) -> np.ndarray | None:
        """(N, 2) between which scores 90 % of the members lie, of codes (N, K).

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
    *,
    simplex: bool,
    members: int = MEMBERS,
    workers: int | None = 1,
    ray: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Ensemble | None:
    """Fit `members` classifiers on codes (N, K), labels (N,) of 0 and 1, of patients (N,) drawn again.

    The same configuration gives the same members, with any number of workers. None where hardly any draw has
    both classes, as with a handful of patients.
    """
    names = np.array(sorted({str(patient) for patient in patients}))
    place = np.searchsorted(names, np.asarray(patients, dtype=str))
    generator = np.random.default_rng([config.seed, members])
    draws = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=members)
    tasks = []
    for member, times in enumerate(draws):
        rows = np.repeat(np.arange(len(labels)), times[place])
        if len(rows) and 0 < labels[rows].mean() < 1:
            tasks.append((member, rows, config.model_copy(update={"seed": config.seed + member})))
    if len(tasks) < members / 2:
        return None
    fitted: dict[int, Classifier] = {}
    fit = partial(_fit, codes, labels, simplex)
    for (member, _, _), classifier in unordered(fit, tasks, workers, ray=ray):
        fitted[member] = classifier
        on_progress(len(fitted), len(tasks))
    kept = sorted(fitted)
    return Ensemble(tuple(fitted[member] for member in kept), tuple(names.tolist()), draws[kept] > 0)


_Task = tuple[int, np.ndarray, ClassifierConfig]


def _fit(codes: np.ndarray, labels: np.ndarray, simplex: bool, task: _Task) -> tuple[_Task, Classifier]:
    _, rows, config = task
    return task, fit_classifier(codes[rows], labels[rows], config, simplex=simplex)


def save_ensemble(run: Run, ensemble: Ensemble) -> None:
    """Write ensemble.safetensors into the run, in half precision: a band needs no more."""
    first = ensemble.members[0]
    state = {
        "config": first.config.model_dump(),
        "simplex": first.simplex,
        "dimensions": first.dimensions,
        "members": len(ensemble.members),
        "patients": list(ensemble.patients),
    }
    tensors = {"drew": torch.tensor(ensemble.drew.astype(np.uint8))}
    for number, member in enumerate(ensemble.members):
        for name, tensor in member.state_dict().items():
            tensors[f"{number}.{name}"] = tensor.half() if tensor.is_floating_point() else tensor
    save_tensors(run.folder / FILE, tensors, state)


def load_ensemble(run: Run) -> Ensemble | None:
    """The run's ensemble, or None when it has none; UserError when damaged."""
    if not run.has(FILE):
        return None
    tensors, state = load_tensors(run.folder / FILE)
    try:
        config = ClassifierConfig.model_validate(state["config"])
        members = []
        for number in range(int(state["members"])):
            member = Classifier(int(state["dimensions"]), config, simplex=bool(state["simplex"]))
            begin = f"{number}."
            own = {
                name.removeprefix(begin): tensor.float() if tensor.is_floating_point() else tensor
                for name, tensor in tensors.items()
                if name.startswith(begin)
            }
            member.load_state_dict(own)
            members.append(member.eval())
        patients = tuple(str(patient) for patient in state["patients"])
        drew = tensors["drew"].numpy().astype(bool)
        if drew.shape != (len(members), len(patients)) or not members:
            raise ValueError("drew")
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"The scores' bands in {run.folder / FILE} are damaged. Make them with `lungvae classify`."
        ) from error
    return Ensemble(tuple(members), patients, drew)
