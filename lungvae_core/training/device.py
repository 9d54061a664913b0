"""The hardware of a training: choice of device, precision, and messages when it is too small."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import platform
from pathlib import Path

import torch

from lungvae_core.errors import UserError
from lungvae_core.vae.config import Config, override
from lungvae_core.vae.model import VAE
from lungvae_core.vae.quick import computes_in_bfloat16

logger = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or mps; UserError when that hardware is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, usable in there.items() if usable)
    if name not in there:
        raise UserError(f"There is no device {name!r}. Choose auto, cpu, cuda or mps.")
    if not there[name]:
        maker = "CUDA" if name == "cuda" else "Apple"
        raise UserError(f"This machine has no {maker} GPU that PyTorch can use. Choose --device auto or cpu.")
    return torch.device(name)


def settle(config: Config, device: torch.device) -> Config:
    """`config` with every `auto` replaced by the best choice for this device, so that the run records it.

    bfloat16 is faster on CUDA GPUs that have it, and on CPUs with AVX512-BF16: on AMD's for every network, on
    others for the released one alone, whose large convolutions are bound by arithmetic; the lean one is bound
    by memory on a Xeon, and slower with it (benchmarks/throughput.py).
    """
    changes: dict[str, str] = {}
    if config.training.precision == "auto":
        if device.type == "cuda":
            helps = torch.cuda.is_bf16_supported()
        else:
            pays = config.model.network == "released" or _cpu_is_amd()
            helps = device.type == "cpu" and pays and computes_in_bfloat16()
        changes["precision"] = "bfloat16" if helps else "float32"
    if config.training.compile == "auto":
        # On CPUs compiling takes longer than it saves in a training of the usual length.
        pays = device.type == "cuda" and compiles(config, device)
        changes["compile"] = "on" if pays else "off"
    return override(config, changes) if changes else config


def compile_networks(vae: VAE, device: torch.device) -> None:
    """Compile the encoder and the decoder in place, with CUDA graphs on CUDA.

    Sampling and the objective stay eager, and so do their random numbers.
    """
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    for network in (vae.encoder, vae.decoder):
        network.compile(mode=mode)


def compiles(config: Config, device: torch.device) -> bool:
    """Whether compiled networks train here: three steps on noise, apart from any run.

    torch.compile needs a C compiler and, on CUDA, Triton; without them, or where it fails for another reason,
    a training is slower but equally good.
    """
    try:
        vae = VAE(config.model).to(device)
        compile_networks(vae, device)
        x = torch.rand(config.training.batch_size, 1, 64, 64, device=device)
        for _ in range(3):
            if device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            vae.zero_grad(set_to_none=True)
            y, posterior = vae(x)
            (y.mean() + vae.latent.kl(posterior).mean()).backward()
        return all(
            bool(torch.isfinite(parameter.grad).all())
            for parameter in vae.parameters()
            if parameter.grad is not None
        )
    except Exception as error:  # compilers raise whatever they like
        logger.warning("torch.compile does not work here (%s); training goes on without it.", error)
        return False


def memory_error(error: BaseException, device: torch.device, batch_size: int) -> UserError | None:
    """The sentence for a device that ran out of memory, or None for any other error."""
    message = str(error).lower()
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in message or "can't allocate memory" in message)
    )
    if not exhausted:
        return None
    advice = "Choose a narrower network (--set width=...)"
    if batch_size > 1:
        advice = f"Try --set batch_size={batch_size // 2}"
    return UserError(
        f"The device {device} ran out of memory with batches of {batch_size} slices. {advice}, close what "
        "else uses it, or train on another --device. The last checkpoint is kept."
    )


def _cpu_is_amd() -> bool:
    try:
        description = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # not Linux
        description = platform.processor()
    return "AuthenticAMD" in description


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees for the next step, instead of returning it each time.

    Every step allocates and frees the same few hundred MB; the kernel would clear each returned page again
    (8,000 page faults a step, a tenth of its time). Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(parameter, value)
