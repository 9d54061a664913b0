"""The full recipe on one device: 400 epochs over 13,852 slices, in bfloat16 and in float32.

    python benchmarks/full_recipe.py --data data/lidc --device cuda --set batch_size=512
    python benchmarks/full_recipe.py --device cpu --count 512 --epochs 1        # to try it

Trains a preset through `fit`, as `lungvae train` does, once per precision on the same slices and seed, and
prints wall time, images a second, FLOP/s as a share of the peak that a large matrix product reaches on this
device in this run, peak memory, and the held-out figures, so that a loss of quality would show. Slices are
those of --data, repeated up to --count; without --data, phantom slices.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from throughput import gflop

from lungvae_core.cli.options import settings_of
from lungvae_core.data.phantom import make_phantom
from lungvae_core.data.slices import SliceSet, write
from lungvae_core.training.device import pick_device
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset

COUNT, EPOCHS = 13_852, 400


def peak(device: torch.device, precision: str) -> float:
    """TFLOP/s of a large matrix product: the best of five."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=kind)
    best = 0.0
    for _ in range(5):
        wait(device)
        began = time.perf_counter()
        a @ a
        wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e12)
    return best


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def slices_of(folder: str | None, count: int, into: Path) -> SliceSet:
    """A set of `count` slices: a data set's, repeated under other patients' names, or a phantom."""
    if folder is None:
        return make_phantom(into, seed=0, count=count)
    data = SliceSet.open(folder, verify=False)
    rows = np.arange(count) % len(data)
    again = np.arange(count) // len(data)
    table = data.table.iloc[rows].reset_index(drop=True)
    copy = pd.Series(again).map(lambda number: f"-copy{number}" if number else "")
    table["patient_id"] = table["patient_id"].astype(str) + copy
    return write(into, data.slices[rows], data.masks[rows], table, data.info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--preset", default="gvae")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--set", action="append", default=[], help="a setting, as batch_size=512")
    chosen = parser.parse_args()
    device = pick_device(chosen.device)
    if device.type == "cuda":
        # As a user of float32 would run it: TF32 is off by default.
        print(torch.cuda.get_device_name(), f"torch {torch.__version__}")
    else:
        print(platform.processor() or platform.machine(), f"torch {torch.__version__}")
    settings = settings_of(chosen.set)
    print(f"{'precision':<11}{'wall s':>9}{'images/s':>10}{'TFLOP/s':>9}{'peak':>8}{'share':>7}", end="")
    print(f"{'memory MB':>11}{'SSIM':>8}{'MSE':>9}{'KL':>8}")
    with tempfile.TemporaryDirectory() as temporary:
        data = slices_of(chosen.data, chosen.count, Path(temporary) / "data")
        for precision in chosen.precisions:
            print(line(chosen, settings, data, device, precision, Path(temporary) / precision), flush=True)


def line(
    chosen: argparse.Namespace,
    settings: dict[str, Any],
    data: SliceSet,
    device: torch.device,
    precision: str,
    out: Path,
) -> str:
    """Train once; the figures as a line."""
    config = override(preset(chosen.preset), {"epochs": chosen.epochs, **settings, "precision": precision})
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    run, _ = fit(config, data, out, device=str(device))
    wait(device)
    wall = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else float("nan")
    rate = len(run.split(data.table)[0]) * chosen.epochs / wall
    reached, most = gflop(config) * rate / 1000, peak(device, precision)
    held_out = run.metrics()[-1]["validation"]
    return (
        f"{precision:<11}{wall:>9.1f}{rate:>10.0f}{reached:>9.3f}{most:>8.2f}{reached / most:>7.1%}"
        f"{memory:>11.0f}{held_out['ssim']:>8.4f}{held_out['mse']:>9.5f}{held_out['kl']:>8.1f}"
    )


if __name__ == "__main__":
    main()
