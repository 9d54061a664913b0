"""Several classifiers of one kind computed together, as one matrix product a layer.

The weights are copied when they are stacked and never changed again, so any number of threads may use them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lungvae_core.training.classifier import Classifier

CHUNK = 256  # codes at a time, which bounds memory


class StackedClassifiers:
    """M classifiers of one configuration, in evaluation mode, as stacked matrices.

    Batch norm comes after the activation, so in evaluation it is a scale and a shift that fold into the next
    layer's weights.
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
