"""Time to quality: how long our preset takes to what the paper's network has after 10 epochs.

    python benchmarks/time_to_quality.py --data data/lidc --patients 70 --runs 5

Each run draws its own patients and seed, and trains both on the same slices, one after the other, each in a
process of its own: `paper-gvae` at base width 32 for 10 epochs, through the same loop as ours; then `gvae`,
in the same HU window, until its held-out SSIM is at least and its held-out MSE at most the other's. Wall time
is that of the training, with its validation and checkpoints, without the start of Python. Ours is looked at
once an epoch, so its time is rounded up to one. `--paper-rate` gives the paper's network another learning
rate than its own 1e-5, for a harder comparison.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.objective import objective

PAPER, OURS = "paper-gvae, base 32", "gvae"
EPOCHS = 10


def config_of(name: str, seed: int, paper_rate: float) -> Config:
    """What is compared: the paper's network as released but for its width, and our preset in its window."""
    if name == PAPER:
        changes = {"width": 32, "dimensions": 128, "epochs": EPOCHS, "precision": "float32"}
        changes["learning_rate"] = paper_rate
        return override(preset("paper-gvae"), {**changes, "seed": seed})
    window = preset("paper-gvae").model
    return override(preset("gvae"), {"hu_low": window.hu_low, "hu_high": window.hu_high, "seed": seed})


def rows_of(data: SliceSet, patients: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, held-out rows) of `patients` random patients, 15 % of them held out."""
    names = np.unique(data.table["patient_id"].astype(str))
    chosen = np.random.default_rng(seed).permutation(names)[:patients]
    rows = np.flatnonzero(data.table["patient_id"].astype(str).isin(set(chosen)))
    train, held_out = holdout(data.table.iloc[rows].reset_index(drop=True), fraction=0.15, seed=seed)
    return rows[train], rows[held_out]


def work(
    name: str, folder: str, patients: int, seed: int, paper_rate: float, goal: dict[str, float] | None
) -> dict[str, Any]:
    """Train one of the two in this process; stop after the epoch that meets `goal`."""
    config = config_of(name, seed, paper_rate)
    data = SliceSet.open(folder, verify=False)
    split = rows_of(data, patients, seed)
    reached = False
    rows: list[dict[str, Any]] = []

    def look(row: dict[str, Any]) -> None:
        nonlocal reached
        rows.append(row)
        held_out = row["validation"]
        reached = goal is not None and held_out["ssim"] >= goal["ssim"] and held_out["mse"] <= goal["mse"]

    with tempfile.TemporaryDirectory() as temporary:
        began = time.perf_counter()
        fit(
            config,
            data,
            Path(temporary) / "run",
            device="cpu",
            split=split,
            on_epoch=look,
            should_stop=lambda: reached,
        )
        wall = time.perf_counter() - began
    return {
        "slices": [len(part) for part in split],
        "wall": wall,
        "epochs": len(rows),
        "images": len(rows) * len(split[0]),
        "ssim": rows[-1]["validation"]["ssim"],
        "mse": rows[-1]["validation"]["mse"],
        "gflop": gflop(config),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "reached": reached or goal is None,
    }


def gflop(config: Config) -> float:
    """Floating-point operations of one image's training step, in 1e9."""
    vae = VAE(config.model)
    x = torch.rand(8, 1, 64, 64)
    with FlopCounterMode(display=False) as counter:
        y, posterior = vae(x)
        objective(x, y, posterior, vae.latent, config, beta=1.0).loss.backward()
    return counter.get_total_flops() / 8 / 1e9


def apart(name: str, chosen: argparse.Namespace, seed: int, goal: dict[str, float] | None) -> dict[str, Any]:
    """`work` in a process of its own, so that memory is counted for it alone."""
    request = json.dumps([name, chosen.data, chosen.patients, seed, chosen.paper_rate, goal])
    command = [sys.executable, __file__, "--work", request, "--threads", str(chosen.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data/lidc")
    parser.add_argument("--patients", type=int, default=70, help="random patients a run; 0 for all")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--paper-rate", type=float, default=preset("paper-gvae").training.learning_rate)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.work:
        print(json.dumps(work(*json.loads(chosen.work))))
        return
    if not chosen.patients:
        chosen.patients = SliceSet.open(chosen.data, verify=False).table["patient_id"].nunique()
    print(
        f"{platform.processor() or platform.machine()}, {chosen.threads} threads, torch {torch.__version__}"
    )
    print(f"{'seed':<6}{'':<22}{'slices':>12}{'wall s':>9}{'epochs':>8}{'images/s':>10}", end="")
    print(f"{'GFLOP/s':>9}{'peak MB':>9}{'SSIM':>8}{'MSE':>9}{'ratio':>8}")
    found: dict[str, list[dict[str, Any]]] = {PAPER: [], OURS: []}
    for seed in range(chosen.runs):
        goal = None
        for name, results in found.items():
            result = apart(name, chosen, seed, goal)
            goal = goal or {"ssim": result["ssim"], "mse": result["mse"]}
            results.append(result)
            show(str(seed), name, [result], found if name == OURS else None, last=True)
    for name, results in found.items():
        show("median", name, results, found if name == OURS else None, last=False)
    if not all(result["reached"] for result in found[OURS]):
        print("Ours did not reach the other's quality in every run.")


def show(
    label: str,
    name: str,
    results: list[dict[str, Any]],
    ratios: dict[str, list[dict[str, Any]]] | None,
    *,
    last: bool,
) -> None:
    """A line of the table: the medians of `results`, and of the ratios of wall times, run by run."""

    def median(value: Any) -> float:
        return statistics.median(value(result) for result in results)

    ratio = ""
    if ratios:
        pairs = list(zip(ratios[PAPER], ratios[OURS], strict=True))[-1 if last else 0 :]
        ratio = f"{statistics.median(paper['wall'] / ours['wall'] for paper, ours in pairs):.1f}x"
    train, held_out = results[0]["slices"]
    print(
        f"{label:<7}{name:<22}{f'{train}+{held_out}' if len(results) == 1 else '':>11}"
        f"{median(lambda r: r['wall']):>9.1f}{median(lambda r: r['epochs']):>8.0f}"
        f"{median(lambda r: r['images'] / r['wall']):>10.0f}"
        f"{median(lambda r: r['gflop'] * r['images'] / r['wall']):>9.0f}"
        f"{median(lambda r: r['memory']):>9.0f}{median(lambda r: r['ssim']):>8.3f}"
        f"{median(lambda r: r['mse']):>9.5f}{ratio:>8}",
        flush=True,
    )


if __name__ == "__main__":
    main()
