"""The hardware that a training runs on: which, with what arithmetic, and what to say when it is too small."""

from __future__ import annotations

import torch

from lungvae_core.errors import UserError
from lungvae_core.vae.config import Config, override


def pick_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or mps; UserError when that hardware is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"There is no device {name!r}. Choose auto, cpu, cuda or mps.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA GPU that PyTorch can use. Choose --device auto or cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("This machine has no Apple GPU that PyTorch can use. Choose --device auto or cpu.")
    return torch.device(name)


def settle(config: Config, device: torch.device) -> Config:
    """`config` with every `auto` replaced by what this device does best, so that the run says what it did.

    bfloat16 pays on CUDA GPUs that have it, and on CPUs with AVX512-BF16 or AMX for the released network,
    whose large convolutions are bound by arithmetic; the lean one is bound by memory there, and slower with
    it (benchmarks/throughput.py).
    """
    changes: dict[str, str] = {}
    if config.training.precision == "auto":
        if device.type == "cuda":
            helps = torch.cuda.is_bf16_supported()
        else:
            helps = device.type == "cpu" and config.model.network == "released" and _cpu_has_bfloat16()
        changes["precision"] = "bfloat16" if helps else "float32"
    if config.training.compile == "auto":
        changes["compile"] = "on" if device.type == "cuda" else "off"
    return override(config, changes) if changes else config


def memory_error(error: BaseException, device: torch.device, batch_size: int) -> UserError | None:
    """The sentence for a device that ran out of memory, or None for any other error."""
    words = str(error).lower()
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
    )
    if not exhausted:
        return None
    advice = (
        f"Try --set batch_size={batch_size // 2}"
        if batch_size > 1
        else "Choose a narrower network (--set width=...)"
    )
    return UserError(
        f"The device {device} ran out of memory with batches of {batch_size} slices. {advice}, close what "
        "else uses it, or train on another --device. The last checkpoint is kept."
    )


def _cpu_has_bfloat16() -> bool:
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(has and has())
