"""Which numbers of a code classifiers read, and in which form.

Of a model with guided dimensions they read only these: they describe the lesion, and a classifier of the 250
others overfits to its patients. Of codes without labels they read the axes of the lesion space
(`lungvae_core.training.lesion_space`): what is drawn about the middle of the slice. Otherwise they read whole
codes, those on the simplex as centred log-ratios (Aitchison 1982), since shares are skewed and sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.config import Config

_LEAST = 1e-5  # of a component; a logarithm needs some
_NARROWEST = 0.05  # a number that varies less is unused; stretched to unit variance it would be all noise
MOST_AXES = 4096


@dataclass(frozen=True)
class Inputs:
    """What is read of codes of K dimensions."""

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
        """What a file says of it; the axes themselves are among the file's numbers."""
        axes = 0 if self.axes is None else len(self.axes) - 1
        return {"simplex": self.simplex, "guided": self.guided, "axes": axes}


def inputs_of(config: Config) -> Inputs:
    """Of a model by its configuration alone: the guided dimensions, or whole codes."""
    return Inputs(config.model.family.simplex, len(config.objective.guided))


def saved_inputs(run: Run, state: dict[str, Any]) -> Inputs:
    """Of a run's codes by a saved state, its axes 0; ValueError if it is for another model's codes."""
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

    mean: Tensor
    deviation: Tensor
    axes: Tensor | None  # (1 + D, K); after loading only their number is in `inputs`

    def __init__(self, dimensions: int, inputs: Inputs) -> None:
        super().__init__()
        self.dimensions, self.inputs = dimensions, inputs
        self.count = inputs.count(dimensions)
        self.register_buffer("mean", torch.zeros(self.count))
        self.register_buffer("deviation", torch.ones(self.count))
        if inputs.axes is None:
            self.axes = None  # in no file, so that files of earlier versions fit
        else:
            self.register_buffer("axes", torch.tensor(inputs.axes, dtype=torch.float32))

    def features(self, codes: Tensor) -> Tensor:
        """(N, count) what is read of codes (N, K), standardised."""
        return (self.inputs.of(codes, self.axes) - self.mean) / self.deviation

    @torch.no_grad()
    def standardise(self, codes: Tensor) -> None:
        """Set the standardisation from codes (N, K)."""
        values = self.inputs.of(codes, self.axes)
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0).clamp(min=_NARROWEST))
