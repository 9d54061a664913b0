"""How well, and how sharply, models reconstruct the slices of their held-out patients.

    python benchmarks/reconstruction.py models/gvae models/dirvae --data data/lidc --window -500 400

Figures with 95 % intervals over patients; lungvae_core/evaluation/sharpness.py says what they are.
"""

from __future__ import annotations

import argparse
import json

import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.reconstruction import reconstruction, window_of
from lungvae_core.training.checkpoints import Run


def line(name: str, figures: dict) -> str:
    """A model's or a size band's figures, as a line of the table."""
    cells = []
    for key in (
        "ssim",
        "mse",
        "fine_power",
        "fine_invented",
        "inside_margin",
        "inside_histogram_hu",
        "inside_mae_hu",
    ):
        figure = figures.get(key)
        value = "" if figure is None else f"{figure['value']:.4g}"
        if figure is not None and figure["low"] is not None:
            value += f" ({figure['low']:.4g} to {figure['high']:.4g})"
        cells.append(value)
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="data/lidc")
    parser.add_argument("--window", type=float, nargs=2, help="HU; by default each model's own")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    data = SliceSet.open(chosen.data)
    for folder in chosen.models:
        run = Run.open(folder)
        window = tuple(chosen.window) if chosen.window else window_of(run)
        _, held_out = run.split(data.table)
        report = reconstruction(run, data, held_out, window_hu=window, resamples=chosen.resamples)
        if chosen.json:
            print(json.dumps({"model": folder, **report}))
            continue
        print(f"\n{folder}: {report['slices']:,} slices of {report['patients']:,} patients, {window} HU\n")
        print(
            "| | SSIM | MSE | fine power | invented | margin | HU histogram | MAE inside, HU |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        inside = {f"inside_{name}": figure for name, figure in (report["inside_mask"] or {}).items()}
        print(line("all", {**report["whole"], **inside}))
        for band in report["by_size"]:
            print(line(f"{band['band']} (n {band['slices']:,})", band))
        spectrum = ", ".join(f"{band['value']:.3f}" for band in report["spectrum"])
        print(f"\nPower by sixteenths of a cycle a pixel: {spectrum}", flush=True)


if __name__ == "__main__":
    main()
