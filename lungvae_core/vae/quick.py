"""A decoder for images while a slider is dragged: one call without Python, in bfloat16 where that is faster.

A PyTorch network takes Python's global lock again after each of its forty layers, and waits for it each time
while other users' pages compute. Traced and frozen, it takes the lock once. On processors that support it,
bfloat16 takes half the time of float32, at three decimal digits: in the images of 500 lesions by the shipped
GVAE a pixel is 0.2 of 256 shades off on average and 2 at most. The other shipped models differ by more than
`NEAR` in the trial below and have no quick decoder there. Images that stay on the screen, are measured or are
saved come from `VAE.decode_codes`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lungvae_core.quiet import silence
from lungvae_core.vae.model import VAE

NEAR = 6 / 255  # how far a pixel of the trial may lie from float32's
TRIAL = 16  # codes from the prior that are decoded both ways
_WARM = 3  # calls after which a traced network runs at its full speed


def computes_in_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions; without them bfloat16 is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # PyTorch has no public name for it
    return bool(supported and supported() and torch.backends.mkldnn.is_available())


def one_call(network: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    """`network`, in evaluation mode on the CPU, as one call that needs no Python between its ends.

    It computes what the network computes now, for batches (N, ...) of any N, and may be called from many
    threads. `example` (N, ...) is what it takes. Where it cannot be traced, the network itself is returned.
    """
    silence(message="`torch.jit")  # deprecated; its successors need a C++ compiler where they run
    try:
        with torch.no_grad():
            traced = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
            for _ in range(_WARM):
                traced(example)
    except (RuntimeError, TypeError, AttributeError):
        return network
    return traced


def quick_decoder(vae: VAE) -> Callable[[np.ndarray], np.ndarray] | None:
    """What `vae.decode_codes` does, codes (N, K) to images (N, 64, 64) in 0..1, in less time.

    None on a GPU, and where this model's images would differ by more than `NEAR` in a trial.
    """
    if next(vae.parameters()).device.type != "cpu":
        return None
    kind = torch.bfloat16 if computes_in_bfloat16() else torch.float32
    decoder = copy.deepcopy(vae.decoder).to(kind)
    decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stub lacks it
    call = one_call(decoder.requires_grad_(False), torch.zeros(2, vae.config.dimensions, dtype=kind))

    @torch.inference_mode()
    def decode(codes: np.ndarray) -> np.ndarray:
        z = vae.latent.to_decoder(torch.tensor(codes, dtype=torch.float32))
        return call(z.to(kind)).float()[:, 0].numpy()

    trial = np.stack([vae.latent.draw(seed) for seed in range(TRIAL)])
    off = np.abs(decode(trial) - vae.decode_codes(trial)).max()
    return decode if off <= NEAR else None  # not for NaN
