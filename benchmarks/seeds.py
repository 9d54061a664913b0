"""GVAE against DirVAE over seeds: what each prior's dimensions carry, mean and spread, in docs/seeds.json.

    python benchmarks/seeds.py --data data/lidc --out runs/seeds --write docs/seeds.json

Small models of the presets' own settings but for width, dimensions and epochs, so that ten trainings take
under half an hour of one CPU core. Half of the patients (seed 1) train and validate; the other half are
judged, so that no model has seen a slice that it is judged on. Only the training's seed differs between
models of a prior: it sets the weights it starts from, the order of slices, their random changes, draws.
Resumable: what is finished in --out is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lungvae_core.cli.disentanglement import print_comparison
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.evaluation.disentanglement import assess, phantom_scores
from lungvae_core.evaluation.disentanglement.compare import SPACE_WORDS, compare, figure_words
from lungvae_core.files import write_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import encode
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset
from lungvae_core.workers import unordered

PRIORS = ("gvae", "dirvae")
COMMAND = " ".join(["python", *sys.argv])
# The null and the intervals of one run need not be fine where the spread over seeds is what is asked for.
EFFORT = assess.Effort(draws=50, refits=5, groups=5, resamples=200)
SETTINGS = {"width": 16, "dimensions": 32, "epochs": 5, "warmup_epochs": 1, "batch_size": 64}


def split_of(data: SliceSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(training, validation, judged rows): half of the patients are judged, a tenth of the rest validate."""
    rest, judged = holdout(data.table, fraction=0.5, seed=1)
    train, validation = holdout(data.table.iloc[rest].reset_index(drop=True), fraction=0.1, seed=1)
    return rest[train], rest[validation], judged


def part(data: SliceSet, rows: np.ndarray) -> SliceSet:
    """The set's `rows` alone, as the same data."""
    return dataclasses.replace(
        data,
        slices=data.slices[rows],
        masks=data.masks[rows],
        table=data.table.iloc[rows].reset_index(drop=True),
    )


def train(task: tuple[str, int], *, folder: str, out: str) -> tuple[str, float]:
    """Train and encode one model; (its name, seconds), 0 s where it was there already."""
    prior, seed = task
    name, began = f"{prior}-{seed}", time.monotonic()
    at = Path(out) / name
    if (at / "latents.parquet").is_file():
        return name, 0.0
    torch.set_num_threads(1)
    data = SliceSet.open(folder, verify=False)
    rows, validation, judged = split_of(data)
    config = override(preset(prior), {**SETTINGS, "seed": seed})
    run, _ = fit(
        config,
        data,
        at,
        device="cpu",
        split=(rows, validation),
        title=name,
        resume=(at / "last.safetensors").is_file(),
    )
    encode(run, part(data, judged))
    return name, time.monotonic() - began


def judge(task: tuple[str, int], *, out: str) -> tuple[str, float]:
    """Assess one model, phantom and all; (its name, seconds), 0 s where it was assessed already."""
    prior, seed = task
    name, began = f"{prior}-{seed}", time.monotonic()
    run = Run.open(Path(out) / name)
    if run.has(assess.FILE):
        return name, 0.0
    torch.set_num_threads(1)
    report = assess.assess(run, phantom=phantom_scores.FULL, effort=EFFORT, seed=0, command=COMMAND)
    assess.write(run, report)
    return name, time.monotonic() - began


def quality(run: Run) -> dict[str, float]:
    """Figures of the run's last epoch on its validation patients."""
    held_out = run.metrics()[-1]["validation"]
    return {name: round(float(held_out[name]), 4) for name in ("ssim", "mse", "kl", "active_units")}


def print_table(groups: list[dict]) -> None:
    """The groups' means and spreads as the table of docs/disentanglement.md."""
    titles = [
        f"{'GVAE' if g['prior'] == 'gaussian' else 'DirVAE'}, {SPACE_WORDS[g['space']]}" for g in groups
    ]
    print(f"| | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for figure in groups[0]["figures"]:
        cells = []
        for group in groups:
            entry = group["figures"].get(figure)
            cells.append(
                "" if entry is None else f"{entry['mean']:.3f} ± {entry['sd']:.3f} ({entry['null']:.3f})"
            )
        print(f"| {figure_words(figure)} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data/lidc")
    parser.add_argument("--out", default="runs/seeds", help="where the models are kept")
    parser.add_argument("--write", default="docs/seeds.json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, a thread each")
    chosen = parser.parse_args()
    tasks = [(prior, seed) for seed in range(chosen.seeds) for prior in PRIORS]
    work = partial(train, folder=str(Path(chosen.data).resolve()), out=str(Path(chosen.out).resolve()))
    for name, seconds in unordered(work, tasks, chosen.workers):
        print(f"{name}: trained in {seconds:.0f} s", flush=True)
    judging = partial(judge, out=str(Path(chosen.out).resolve()))
    for name, seconds in unordered(judging, tasks, chosen.workers):
        print(f"{name}: assessed in {seconds:.0f} s", flush=True)
    runs = [Run.open(Path(chosen.out) / f"{prior}-{seed}") for prior, seed in tasks]
    reports = [assess.load(run.folder) for run in runs]
    comparison = compare(reports)
    data = SliceSet.open(chosen.data, verify=False)
    train_rows, validation, judged = split_of(data)
    patients = data.table["patient_id"].astype(str)
    parts = {"train": train_rows, "validation": validation, "judged": judged}
    write_json(
        Path(chosen.write),
        {
            "format": 1,
            "what": "disentanglement of GVAE and DirVAE, models that differ in prior and seed alone",
            "command": COMMAND,
            "settings": SETTINGS,
            "seeds": list(range(chosen.seeds)),
            "data": {
                "name": data.info.name,
                "attribution": data.info.attribution,
                **{
                    name: {"slices": len(rows), "patients": int(patients.iloc[rows].nunique())}
                    for name, rows in parts.items()
                },
            },
            "seen": reports[0]["seen"],
            "effort": dataclasses.asdict(EFFORT),
            "phantom": dataclasses.asdict(phantom_scores.FULL),
            "hardware": f"{platform.machine()} CPU, one thread a model",
            "versions": dict(runs[0].info.versions),
            "quality": {run.info.title: quality(run) for run in runs},
            **comparison,
        },
    )
    print_table(comparison["groups"])
    print_comparison(comparison)
    print(chosen.write)


if __name__ == "__main__":
    main()
