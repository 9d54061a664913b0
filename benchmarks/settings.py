"""What single settings do on real slices in a short training: the tables of docs/training.md.

    python benchmarks/settings.py --data data/lidc --preset dirvae --set prior_alpha=0.3

The patients that the shipped models hold out (15 %, seed 0) take no part. Of the others 20 % (seed 1) judge
and half of the rest train, 4 epochs on one thread, from the settings that the presets had before any was
chosen. Prints one JSON line: held-out SSIM, MSE, KL, active units, and the AUC, malignant against benign, of
the MLP on codes, fitted on the training patients' labels (mean logit of three seeds).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lungvae_core.cli.options import settings_of
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.evaluation.units import by_nodule
from lungvae_core.statistics.roc import auc
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig, fit_classifier
from lungvae_core.training.fit import fit
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.vae.config import override, preset

BEFORE = {
    "dimensions": 64,
    "linear_path": False,
    "alpha_scale": 1,
    "l1": 1,
    "mse": 0,
    "ssim": 0.15,
    "focus": 4,
    "learning_rate": 1.5e-3,
    "quarter_turns": False,
    "epochs": 4,
    "warmup_epochs": 1,
    "batch_size": 64,
    "beta": 0.1,
    "rotate_degrees": 0,
    "shift_px": 0,
    "prior_alpha": 0.6,
}


def split_of(data: SliceSet) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, judging rows)."""
    others, _ = holdout(data.table, fraction=0.15, seed=0)
    train, judge = holdout(data.table.iloc[others].reset_index(drop=True), fraction=0.2, seed=1)
    train, judge = others[train], others[judge]
    patients = data.table["patient_id"].astype(str).to_numpy()
    names = np.unique(patients[train])
    half = np.random.default_rng(0).permutation(names)[: len(names) // 2]
    return train[np.isin(patients[train], half)], judge


def aucs(run: Run, data: SliceSet, train: np.ndarray, judge: np.ndarray) -> dict[str, float]:
    """AUC per slice and per nodule on the judging patients."""
    vae, labels = run.load_model(), data.labelled()
    codes = vae.encode_hu(np.asarray(at_spacing(data.slices, data.table, vae.config.spacing_mm)))
    train, judge = (rows[~np.isnan(labels[rows])] for rows in (train, judge))
    inputs = LesionSpace.learned(run, codes[train], vae).inputs
    logits = [
        fit_classifier(codes[train], labels[train], ClassifierConfig(seed=seed), inputs).logits(codes[judge])
        for seed in range(3)
    ]
    scores = np.mean(logits, axis=0)
    table = data.table.iloc[judge].reset_index(drop=True)
    nodules = by_nodule(table, label=(labels[judge], "first"), score=(scores, "mean"))
    return {
        "auc_slice": auc(labels[judge], scores),
        "auc_nodule": auc(nodules["label"].to_numpy(), nodules["score"].to_numpy()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="data/lidc")
    parser.add_argument("--preset", default="gvae")
    parser.add_argument("--set", action="append", default=[], help="a setting, as beta=0.03")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    changes = settings_of(chosen.set)
    data = SliceSet.open(chosen.data, verify=False)
    train, judge = split_of(data)
    config = override(preset(chosen.preset), {**BEFORE, **changes})
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run, _ = fit(config, data, Path(folder) / "run", device="cpu", split=(train, judge))
        seconds = time.monotonic() - began
        held_out = run.metrics()[-1]["validation"]
        figures = {name: held_out[name] for name in ("ssim", "mse", "kl", "active_units")}
        figures |= {"alpha0": held_out.get("alpha0"), **aucs(run, data, train, judge)}
    print(json.dumps({"preset": chosen.preset, **changes, **figures, "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
