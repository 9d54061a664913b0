"""Which numbers of a code classifiers read, and in which form.

Of a model with guided dimensions they read only these: they describe the lesion, and a classifier of the 250
others overfits to its patients. Of codes without labels they read the axes of the lesion space
(`lungvae_core.training.lesion_space`): what is drawn about the middle of the slice. Otherwise they read whole
codes, those on the simplex as centred log-ratios (Aitchison 1982), since shares are skewed and sum to one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from lungvae_core.training.checkpoints import Run
from lungvae_core.training.weights_file import (
    Network,
    check_fits,
    check_numbers,
    filled,
    load_tensors,
    on_meta,
    read_header,
    save_tensors,
)
from lungvae_core.vae.config import Config

_LEAST = 1e-5  # of a component; a logarithm needs some
_NARROWEST = 0.05  # a number that varies less is unused; stretched to unit variance it would be all noise
MOST_AXES = 4096


@dataclass(frozen=True)
class Inputs:
    """Which numbers of codes (N, K) are read."""

    simplex: bool = False  # codes lie on it
    guided: int = 0  # the first so many dimensions alone; 0: all
    axes: np.ndarray | None = field(default=None, compare=False, repr=False)  # (1 + D, K): origin, D axes

    def count(self, dimensions: int) -> int:
        """How many numbers are read of codes of K dimensions."""
        return self.guided or (dimensions if self.axes is None else len(self.axes) - 1)

    def of(self, codes: Tensor, axes: Tensor | None = None) -> Tensor:
        """(N, count) of codes (N, K); those on the simplex as log-ratios to all, or to the free ones.

        `axes` (1 + D, K) are this object's as a tensor; codes are then projected on them as they are.
        """
        if axes is not None:
            return (codes - axes[0]) @ axes[1:].T
        if not self.simplex:
            return codes[:, : self.guided] if self.guided else codes
        codes = codes.clamp(min=0) + _LEAST
        if self.guided:
            return codes[:, : self.guided].log() - codes[:, self.guided :].sum(1, keepdim=True).log()
        logs = codes.log()
        return logs - logs.mean(1, keepdim=True)

    @property
    def state(self) -> dict[str, Any]:
        """Its JSON in a file; the axes themselves are among the file's tensors."""
        axes = 0 if self.axes is None else len(self.axes) - 1
        return {"simplex": self.simplex, "guided": self.guided, "axes": axes}


def inputs_of(config: Config) -> Inputs:
    """The inputs by a model's configuration alone: the guided dimensions, or whole codes."""
    return Inputs(config.model.family.simplex, len(config.objective.guided))


def saved_inputs(run: Run, state: dict[str, Any]) -> Inputs:
    """The inputs of a saved state, with axes of 0; ValueError if they are of another model's codes."""
    own, inputs = run.config.model, inputs_of(run.config)
    # Earlier versions read all dimensions of any model, and had no axes.
    guided, axes = state.get("guided", 0), state.get("axes", 0)
    if (state["dimensions"], state["simplex"]) != (own.dimensions, inputs.simplex) or (
        guided not in (0, inputs.guided)
    ):
        raise ValueError("it is for another model's codes")
    if type(axes) is not int or not 0 <= axes <= MOST_AXES or (axes and guided):
        raise ValueError("it does not say which numbers of codes it reads")
    zeros = np.zeros((1 + axes, own.dimensions), np.float32)
    return replace(inputs, guided=int(guided), axes=zeros if axes else None)


class ReadsCodes(nn.Module):
    """A network on codes (N, K) whose first step is to read and standardise them."""

    settings: ClassVar[type[BaseModel]]  # of its `config`
    mean: Tensor
    deviation: Tensor
    axes: Tensor | None  # (1 + D, K); after loading only their number is in `inputs`

    def __init__(self, dimensions: int, config: BaseModel, inputs: Inputs) -> None:
        super().__init__()
        self.dimensions, self.config, self.inputs = dimensions, config, inputs
        self.count = inputs.count(dimensions)
        self.register_buffer("mean", torch.zeros(self.count))
        self.register_buffer("deviation", torch.ones(self.count))
        if inputs.axes is None:
            self.axes = None  # in no file, so that files of earlier versions fit
        else:
            self.register_buffer("axes", torch.tensor(inputs.axes, dtype=torch.float32))

    @property
    def state(self) -> dict[str, Any]:
        """Its JSON in a file, beside its weights."""
        return {"config": self.config.model_dump(), **self.inputs.state, "dimensions": self.dimensions}

    @classmethod
    def empty(cls, run: Run, state: dict[str, Any]) -> Self:
        """One of a run's codes by a saved state, without its weights; ValueError for another model's."""
        config = cls.settings.model_validate(state["config"])
        return cls(run.config.model.dimensions, config, saved_inputs(run, state))

    def features(self, codes: Tensor) -> Tensor:
        """(N, count) what is read of codes (N, K), standardised."""
        return (self.inputs.of(codes, self.axes) - self.mean) / self.deviation

    @torch.no_grad()
    def standardise(self, codes: Tensor) -> None:
        """Set the standardisation from codes (N, K)."""
        values = self.inputs.of(codes, self.axes)
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0).clamp(min=_NARROWEST))


def save_members(
    path: Path, members: Sequence[ReadsCodes], patients: Sequence[str], more: dict[str, Tensor]
) -> None:
    """Write networks of one shape into one file, with names of patients and `more` tensors."""
    tensors = dict(more)
    for number, member in enumerate(members):
        tensors |= {f"{number}.{name}": tensor for name, tensor in member.state_dict().items()}
    state = {**members[0].state, "patients": list(patients), "members": len(members)}
    save_tensors(path, tensors, state)


def load_members(
    path: Path,
    make: Callable[[dict[str, Any]], Network],
    more: Callable[[int, int], dict[str, Tensor]],
    *,
    most: int,
    what: str,
) -> tuple[list[Network], list[str], dict[str, Tensor]]:
    """(networks, the names in the state's `patients`, all tensors) of a file by `save_members`.

    `make` builds one network from the state; `more` gives, for the numbers of networks and of patients, the
    other tensors' shapes, on the meta device. At most `most` networks are read; `what` names them. Raises as
    `load_network`, within `fitting`.
    """
    header = read_header(path)
    count, patients = header.state["members"], header.state["patients"]
    if type(count) is not int or not 1 <= count <= most:
        raise ValueError(f"it does not say of how many {what} it is")
    if not isinstance(patients, list):
        raise ValueError("it does not name the patients")
    one = on_meta(lambda: make(header.state)).state_dict()
    expected = {f"{number}.{name}": one[name] for number in range(count) for name in one}
    check_fits(header, expected | more(count, len(patients)))
    tensors, _ = load_tensors(path)
    check_numbers(tensors)
    members = [
        filled(on_meta(lambda: make(header.state)), {name: tensors[f"{number}.{name}"] for name in one})
        for number in range(count)
    ]
    return members, [str(patient) for patient in patients], tensors
