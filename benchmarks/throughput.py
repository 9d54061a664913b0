"""Images a second of every preset on this machine: training steps, encoding, decoding, one code at a time.

All in one process, one after the other on the same noise, so that the ratios hold where the machine is busy.
The paper's networks run at base 32 with 4 latent maps (128 dimensions). Training is timed in float32 and in
bfloat16, and with --compile also compiled. GFLOP/s is that of training in float32. The second table decodes
batches of several sizes on one thread: time should grow no faster than the batch. The first codes are those
of a slider.

    python benchmarks/throughput.py [--threads 2] [--seconds 5] [--compile]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import parameter_count
from lungvae_core.vae.objective import objective

BATCH = 64
SIZES = (1, 4, 16, 64, 256)


def gflop(config: Config) -> float:
    """Floating-point operations of one image's training step, in 1e9."""
    vae = VAE(config.model)
    x = torch.rand(8, 1, 64, 64)
    with FlopCounterMode(display=False) as counter:
        y, posterior = vae(x)
        objective(x, y, posterior, vae.latent, config, beta=1.0).loss.backward()
    return counter.get_total_flops() / 8 / 1e9


def rate(step: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Calls a second of `step` on a device: the median over at least three calls after one to warm up."""
    step()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--compile", action="store_true", help="time compiled training as well; takes minutes"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    )
    print(f"{name}, {chosen.threads} threads, torch {torch.__version__}, batches of {BATCH}, images a second")
    kinds = ["float32", "bfloat16", *(["compiled"] if chosen.compile else [])]
    print(f"{'preset':<23}{'parameters':>11}", *(f"{kind:>9}" for kind in kinds), end="")
    print(f"{'GFLOP/s':>9}{'encode':>8}{'decode':>8}")
    small = {"width": 32, "dimensions": 128}
    presets = {
        "gvae": preset("gvae"),
        "dirvae": preset("dirvae"),
        "gvae, no linear path": override(preset("gvae"), {"dimensions": 64, "linear_path": False}),
        "paper-gvae, base 32": override(preset("paper-gvae"), small),
        "paper-dirvae, base 32": override(preset("paper-dirvae"), small),
    }
    for title, config in presets.items():
        print(f"{title:<23}{row(config, device, chosen.seconds, kinds)}", flush=True)
    print(f"\nDecoding on one thread, ms a batch\n{'codes':<23}", *(f"{size:>8}" for size in SIZES), sep="")
    torch.set_num_threads(1)
    for title, config in presets.items():
        print(f"{title:<23}{decoding(config, device, chosen.seconds)}", flush=True)


def row(config: Config, device: torch.device, seconds: float, kinds: list[str]) -> str:
    """The figures of one configuration, as a line."""
    rates = [training_rate(config, device, seconds, kind) * BATCH for kind in kinds]
    vae = _vae(config, device).eval()
    x = torch.rand(BATCH, 1, 64, 64, device=device)
    with torch.inference_mode():
        z = vae.latent.code(vae.posterior(x))
        encoded = rate(lambda: vae.posterior(x), seconds, device) * BATCH
        decoded = rate(lambda: vae.reconstruct(z), seconds, device) * BATCH
    trained = " ".join(f"{value:>9.0f}" for value in rates)
    return (
        f"{parameter_count(vae):>11,} {trained}{gflop(config) * rates[0]:>9.0f}{encoded:>8.0f}{decoded:>8.0f}"
    )


def training_rate(config: Config, device: torch.device, seconds: float, kind: str) -> float:
    """Steps a second of training."""
    vae = _vae(config, device)
    if kind == "compiled":
        vae.encoder.compile()
        vae.decoder.compile()
    learned = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=1e-4, fused=True)
    x = torch.rand(BATCH, 1, 64, 64, device=device)

    def train() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bfloat16"):
            y, posterior = vae(x)
        loss = objective(x, y, posterior, vae.latent, config, beta=1.0).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return rate(train, seconds, device)


def decoding(config: Config, device: torch.device, seconds: float) -> str:
    """Milliseconds to decode batches of SIZES codes, as a line."""
    vae = _vae(config, device).eval()
    times = []
    with torch.inference_mode():
        for size in SIZES:
            z = torch.rand(size, config.model.dimensions, device=device)
            z = z / z.sum(1, keepdim=True) if config.model.family.simplex else z
            times.append(1e3 / rate(partial(vae.reconstruct, z), seconds / 4, device))
    return "".join(f"{value:>8.2f}" for value in times)


def _vae(config: Config, device: torch.device) -> VAE:
    torch.manual_seed(0)
    return VAE(config.model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
