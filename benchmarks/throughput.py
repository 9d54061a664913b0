"""Images a second of every preset on this machine: training steps, encoding, decoding, one code at a time.

All in one process, one after the other on the same noise, so that the ratios hold where the machine is busy.
The paper's networks run at base 32 with 4 latent maps (128 dimensions) beside their full size.

    python benchmarks/throughput.py [--threads 2] [--seconds 5]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import parameter_count
from lungvae_core.vae.objective import objective

BATCH = 64


def rate(step: Callable[[], object], seconds: float) -> float:
    """Calls a second of `step`: the median over at least three calls after one to warm up."""
    step()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    )
    print(f"{name}, {chosen.threads} threads, torch {torch.__version__}, batches of {BATCH}, images a second")
    print(f"{'preset':<24}{'parameters':>12}{'train':>9}{'encode':>9}{'decode':>9}{'one code, ms':>14}")
    small = {"width": 32, "dimensions": 128}
    for title, config in (
        ("gvae", preset("gvae")),
        ("dirvae", preset("dirvae")),
        ("paper-gvae, base 32", override(preset("paper-gvae"), small)),
        ("paper-dirvae, base 32", override(preset("paper-dirvae"), small)),
    ):
        print(f"{title:<24}{row(config, device, chosen.seconds, chosen.threads)}", flush=True)


def row(config: Config, device: torch.device, seconds: float, threads: int) -> str:
    """The figures of one configuration, as a line."""
    torch.manual_seed(0)
    vae = VAE(config.model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(vae.parameters(), lr=1e-4, fused=True)
    x = torch.rand(BATCH, 1, 64, 64, device=device)

    def train() -> None:
        y, posterior = vae(x)
        loss = objective(x, y, posterior, vae.latent, config, beta=1.0).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        _wait(device)

    trained = rate(train, seconds) * BATCH
    vae.eval()
    with torch.inference_mode():
        z = vae.latent.code(vae.posterior(x))
        encoded = rate(lambda: (vae.posterior(x), _wait(device)), seconds) * BATCH
        decoded = rate(lambda: (vae.reconstruct(z), _wait(device)), seconds) * BATCH
        torch.set_num_threads(1)
        single = 1e3 / rate(lambda: (vae.reconstruct(z[:1]), _wait(device)), seconds)
        torch.set_num_threads(threads)
    return f"{parameter_count(vae):>12,}{trained:>9.0f}{encoded:>9.0f}{decoded:>9.0f}{single:>14.2f}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
