"""What several processes training one model have to share within a step: sums that gradients flow through.

With one process, everything here is the identity and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class Share(NamedTuple):
    """This process's rows of the global batch; random numbers are drawn for all of it and sliced.

    So the numbers that a slice gets do not depend on how many processes there are.
    """

    start: int  # of this process's rows
    stop: int
    total: int  # rows of the global batch

    @property
    def whole(self) -> bool:
        """Whether every process has the whole batch, as when there are more processes than rows."""
        return self.stop - self.start == self.total


_apart = False


def processes() -> int:
    """How many processes train together; 1 outside torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _apart else 1


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """Within it, processes that each have the whole batch compute by themselves what one process would.

    Statistics over copies of a batch are not the batch's: the variance of a batch norm has another divisor.
    """
    global _apart
    before, _apart = _apart, share.whole
    try:
        yield
    finally:
        _apart = before


class _Total(torch.autograd.Function):
    """Sum over the processes. Each of them uses the sum, so a gradient is the sum of theirs as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def total(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, of the same shape; gradients flow through."""
    return _Total.apply(x) if processes() > 1 else x


def batch_mean(x: Tensor) -> Tensor:
    """The mean over the first axis of the global batch, from this process's rows (B, ...)."""
    if processes() == 1:
        return x.mean(0)
    rows = torch.tensor(float(len(x)), device=x.device)
    return total(x.sum(0)) / total(rows)


def whole_batch(x: Tensor, share: Share) -> Tensor:
    """(total, K) the rows (B, K) of all processes in the global batch's order; gradients flow through."""
    if processes() == 1:
        return x
    return total(F.pad(x, (0, 0, share.start, share.total - share.stop)))


def gathered(x: Tensor, share: Share) -> Tensor:
    """(total, K) the rows (B, K) of all processes in the global batch's order, without gradients."""
    if share.whole:
        return x.detach()
    whole = torch.zeros(share.total, x.shape[1], dtype=x.dtype, device=x.device)
    whole[share.start : share.stop] = x.detach()
    dist.all_reduce(whole)
    return whole
