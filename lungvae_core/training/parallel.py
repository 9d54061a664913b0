"""Several processes training one model: torchrun starts them, lightning-fabric connects them.

Every process holds all slices and takes its share of each global batch; random numbers are drawn for the
whole batch, batch norms share their statistics, and gradients are averaged, so the result equals that of one
process with the same global batch up to rounding. Only the first process writes the run.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lungvae_core.errors import UserError
from lungvae_core.quiet import silence
from lungvae_core.vae.sync import Share, sharing

Value = TypeVar("Value")


def torchrun_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def first_process() -> bool:
    """Whether this process prints and writes."""
    return torchrun_size() == 1 or os.environ.get("RANK", "0") == "0"


def _disconnect() -> None:
    """End the connection before the interpreter does: threads of it that still run then abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Team:
    """The processes that train together; of one member unless torchrun started more."""

    def __init__(self, device: torch.device) -> None:
        self.size = torchrun_size()
        self.rank = int(os.environ.get("RANK", "0")) if self.size > 1 else 0
        self.device = device
        self._fabric: Any = None
        if self.size > 1:
            self._connect()

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def _connect(self) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

        if self.device.type == "mps":
            raise UserError("Apple's GPUs cannot train together. Start one process, without torchrun.")
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        if self.device.type == "cuda" and torch.cuda.device_count() < here:
            raise UserError(
                f"{here} processes were started on this machine, but it has {torch.cuda.device_count()} "
                "GPU(s). Give torchrun --nproc-per-node the number of GPUs."
            )
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        # Batch norms already agree: sending their buffers round before every step would be a waste.
        strategy = DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
        self._fabric = Fabric(
            accelerator=self.device.type, devices=here, num_nodes=self.size // here, strategy=strategy
        )
        self._fabric.launch()
        self.device = self._fabric.device
        atexit.register(_disconnect)

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over the team when it is called through the result."""
        if self._fabric is None:
            return module
        # The argument's new name is not in the earlier versions that we also take.
        silence(message="`broadcast_buffers` is deprecated")
        return self._fabric.setup_module(module, move_to_device=False)

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, averaged over the team."""
        if self._fabric is None:
            loss.backward()
        else:
            self._fabric.backward(loss)

    def share(self, rows: int) -> Share:
        """This process's part of a global batch, or all of it if there are too few rows to share."""
        if rows < self.size:
            return Share(0, rows, rows)
        cuts = [rows * member // self.size for member in range(self.size + 1)]
        return Share(cuts[self.rank], cuts[self.rank + 1], rows)

    def weight(self, share: Share) -> float:
        """The weight of this process's mean loss, so that the team's average is the global batch's mean."""
        rows = share.stop - share.start
        return 1.0 if share.total < self.size else rows * self.size / share.total

    def mean(self, values: Tensor) -> Tensor:
        """`values` averaged over the team."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def first_does(self, work: Callable[[], Value]) -> Value | None:
        """Let the first process do `work` while the others wait; if it raises, all raise a UserError."""
        if self.size == 1:
            return work()
        result: Value | None = None
        problem: list[Any] = [None]
        if self.first:
            # The others would never join a sum that it asked for, as a batch norm does.
            try:
                with sharing(Share(0, 1, 1)):
                    result = work()
            except UserError as error:
                problem = [str(error)]
        dist.broadcast_object_list(problem, src=0)
        if problem[0] is not None:
            raise UserError(problem[0])
        return result
