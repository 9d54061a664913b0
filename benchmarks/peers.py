"""How soon our VAE reconstructs held-out slices well, compared with what a user might choose instead.

    python benchmarks/peers.py --data data/lidc --minutes 10 --threads 2 --json peers.json
    python benchmarks/peers.py --only gvae-64,monai --patients 40 --minutes 0.3     # to try it

Every contestant trains in a process of its own, one after the other, for the same time on the same cores and
the same slices: those of the project's training patients (seed 0), HU -1000 to 400 as 0 to 1, with 64 latent
dimensions but for gvae-256. Network, loss, optimiser, batch size and learning rate are those that
its documentation shows; a second row changes the learning rate alone, to ours.

- gvae-64: our preset with as many dimensions as the others, through `fit`.
- gvae-256: our preset as it is.
- pythae-dense: the README's example, with the default networks of `VAE`, of dense layers.
- pythae-conv, pythae-resnet: the networks for 64x64 images (`pythae.models.nn.benchmarks.celeba`), with the
  settings of its training script for CelebA. They take three channels: the slice three times.
- monai: the `VarAutoEncoder` of its docstring, with the MedNIST tutorial's loss (beta 100), optimiser and
  rate; a third row has beta 1. Batches of 64 are our choice.
- paper: the released network (arXiv 2311.15719) at base width 32, a quarter of the released one, through
  `fit`, in float32.

Measured is the mean SSIM (11-pixel Gaussian window) of the same held-out slices, reconstructed from the means
of their posteriors, in the window -500 to 400 HU: every 5 s, later every twentieth of the time so far.
Measuring does not count as training time; validation and checkpoints of a contestant's own loop do. The time
to an SSIM is that of the first measurement which has it, from when all modules are imported. Most pixels are
below -500 HU, so that even a black image has an SSIM there; it is printed, and everyone's SSIM in -1000 to
400 HU.
Memory is the peak of the process, with its slices and PyTorch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_trainings import CONTESTANTS, Slices, Watch

from lungvae_core.vae.networks import parameter_count

GOALS = ("0.60", "0.70")
COLUMNS = ("", "rate", "batch", "parameters", "epochs", "images/s", "peak MB", *GOALS, "SSIM", "-1000 to 400")


def work(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train a contestant in this process; return its row."""
    torch.set_num_threads(chosen.threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    contestant = CONTESTANTS[name]
    if contestant.module:
        importlib.import_module(contestant.module)
    slices = Slices.of(chosen.data, chosen.patients)
    looked_at = np.unique(np.linspace(0, len(slices.held_out) - 1, chosen.held_out).astype(int))
    watch = Watch(60 * chosen.minutes, slices.images(slices.held_out[looked_at]))
    network, batch_size = contestant.train(slices, watch, **contestant.settings)
    count, last = len(slices.train), watch.looks[-1]
    epochs, steps = divmod(watch.steps, math.ceil(count / batch_size))  # an epoch's last batch is smaller
    images = epochs * count + steps * batch_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "name": name,
        "learning_rate": contestant.settings["learning_rate"],
        "batch_size": batch_size,
        "parameters": parameter_count(network),
        "slices": [count, len(looked_at)],
        "seconds": last.seconds,
        "epochs": images / count,
        "images_per_second": images / last.seconds,
        "peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
        "seconds_to": {goal: watch.seconds_to(float(goal)) for goal in GOALS},
        "ssim": last.ssim,
        "ssim_wide": last.ssim_wide,
        "ssim_of_black": watch.scores(torch.zeros_like),
        "looks": watch.looks,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the Markdown table."""
    cells = (
        row["name"],
        f"{row['learning_rate']:g}",
        str(row["batch_size"]),
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['epochs']:.1f}",
        f"{row['images_per_second']:,.0f}",
        f"{row['peak_mb']:,.0f}",
        *("no" if seconds is None else f"{seconds:.0f} s" for seconds in row["seconds_to"].values()),
        f"{row['ssim']:.3f}",
        f"{row['ssim_wide']:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def ratios(rows: list[dict[str, Any]], goal: str) -> list[str]:
    """How much sooner each of our rows has the SSIM `goal` than the best of the others, in sentences."""
    sentences = []
    for ours in (row for row in rows if row["name"].startswith("gvae")):
        seconds = ours["seconds_to"][goal]
        if seconds is None:
            sentences.append(f"{ours['name']} did not reach {goal}.")
            continue
        for title, names in {
            "pythae and MONAI": ("pythae", "monai"),
            "the released network": "paper",
        }.items():
            peers = [row for row in rows if row["name"].startswith(names)]
            times = [row["seconds_to"][goal] for row in peers if row["seconds_to"][goal] is not None]
            if times:
                factor = f"{min(times) / seconds:.1f} times sooner than the best of {title}"
            elif peers:
                least = min(row["seconds"] for row in peers)
                factor = f"at least {least / seconds:.1f} times sooner than {title}, which did not reach it"
            else:
                continue
            sentences.append(f"{ours['name']} reached {goal} in {seconds:.0f} s, {factor}.")
    return sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data/lidc")
    parser.add_argument("--minutes", type=float, default=10, help="training time of each")
    parser.add_argument("--threads", type=int, default=2, help="threads, and cores where the system allows")
    parser.add_argument("--only", default="", help="beginnings of rows' names, as gvae-64,monai")
    parser.add_argument("--patients", type=int, default=0, help="random patients; 0 for all")
    parser.add_argument("--held-out", type=int, default=512, help="held-out slices to look at")
    parser.add_argument("--json", type=Path, help="write all rows, with every look, to this file")
    parser.add_argument("--work", choices=CONTESTANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        print(json.dumps(work(chosen.work, chosen)))
        return
    names = [name for name in CONTESTANTS if name.startswith(tuple(chosen.only.split(",")))]
    packages = dict.fromkeys(CONTESTANTS[name].module.partition(".")[0] for name in names)
    missing = {package for package in packages if package and not find_spec(package)}
    for package in sorted(missing):
        print(f"{package} is left out; install it with: {sys.executable} -m pip install {package}")
    versions = {each: metadata.version(each) for each in ("torch", *packages) if each and each not in missing}
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {chosen.threads} threads, {versions}, {chosen.minutes:g} minutes each\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    rows: list[dict[str, Any]] = []
    for name in names:
        if CONTESTANTS[name].module.partition(".")[0] in missing:
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--work", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1:]} |", flush=True)
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(line(rows[-1]), flush=True)
        if chosen.json:
            report = {"machine": machine, "versions": versions, "options": vars(chosen), "rows": rows}
            chosen.json.write_text(json.dumps(report, default=str, indent=1), encoding="utf-8")
    if rows:
        narrow, wide = rows[0]["ssim_of_black"]
        print(f"\nA black image has an SSIM of {narrow:.3f}, and of {wide:.3f} in -1000 to 400 HU.")
    print("", *(sentence for goal in GOALS for sentence in ratios(rows, goal)), sep="\n")


if __name__ == "__main__":
    main()
