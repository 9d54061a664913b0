"""A report with MADE-UP figures for the tests of what shows reports. No model was ever judged so."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from lungvae_core.evaluation.figures import unit_figures
from lungvae_core.json_text import plain

MADE_UP = "made up for the tests; no model was judged"


def interval(value: float, width: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - width), "high": min(1.0, value + 0.8 * width)}


@cache
def judged(count: int, patients: int, auc: float, seed: int) -> str:
    """All figures, as JSON, of units whose scores nobody's model gave."""
    generator = np.random.default_rng(seed)
    label = (generator.random(count) < 0.41).astype(int)
    apart = np.sqrt(2) * norm.ppf(auc)
    logit = apart * (generator.normal(0, 1, count) + label * apart) - apart**2 / 2 + np.log(0.41 / 0.59)
    probability, patient = expit(logit), np.arange(count) % patients
    frame = pd.DataFrame({"patient_id": patient, "fold": patient % 5, "label": label, "logit": logit})
    frame = frame.assign(probability=probability, called=(probability > 0.45).astype(int))
    return json.dumps(plain(unit_figures(frame, resamples=20)))


def unit(count: int, patients: int, auc: float, seed: int, width: float) -> dict[str, Any]:
    """All figures of a unit; the AUC is exactly `auc`."""
    return {**json.loads(judged(count, patients, auc, seed)), "auc": interval(auc, width)}


def baseline(words: str, readers: bool, per_slice: float | None, per_nodule: float) -> dict[str, Any]:
    return {
        "words": words,
        "uses_readers": readers,
        "slice": None if per_slice is None else {"auc": interval(per_slice)},
        "nodule": {"auc": interval(per_nodule, 0.015)},
    }


def comparison(name: str, difference: float) -> dict[str, Any]:
    found = {"difference": difference, "low": difference - 0.015, "high": difference + 0.014}
    return {
        "baseline": name,
        "unit": "nodule",
        "paired": {**found, "p": 0.004 if difference > 0.015 else 0.21, "count": 1378, "patients": 681},
        "delong": {**found, "p": 0.002 if difference > 0.015 else 0.19},
    }


def group(name: str, count: int, auc: float | None) -> dict[str, Any]:
    return {
        "group": name,
        "count": count,
        "malignant": count // 3,
        "patients": count // 2,
        "auc": None if auc is None else interval(auc, 0.04),
        "sensitivity": None if auc is None else interval(auc - 0.06, 0.05),
        "specificity": None if auc is None else interval(auc - 0.04, 0.05),
    }


def made_up(protocol: str = "nested") -> dict[str, Any]:
    """A whole report of a protocol, as the protocols write them, with figures that are MADE UP."""
    leaks = protocol == "paper"
    lift = 0.035 if leaks else 0.0
    figures = {
        "ssim": interval(0.81),
        "ms_ssim": interval(0.93),
        "mse": {"value": 0.0061, "low": 0.0057, "high": 0.0066},
        "mae": {"value": 0.041, "low": 0.039, "high": 0.043},
        "psnr": {"value": 23.1, "low": 22.7, "high": 23.4},
        "mae_hu": {"value": 57.0, "low": 54.1, "high": 60.2},
        "rmse_hu": {"value": 96.0, "low": 92.3, "high": 99.8},
        "fine_power": {"value": 0.21, "low": 0.19, "high": 0.23},
        "fine_invented": {"value": 0.32, "low": 0.29, "high": 0.35},
    }
    return {
        "format": 1,
        "protocol": protocol,
        "protocol_in_words": {
            "nested": "Outer patient-grouped, stratified folds; inside each outer training part the VAE, the "
            "joint phase, the classifier, its settings, the threshold and the calibration are fitted",
            "frozen": "A VAE without labels in each fold; the classifier in nested, patient-grouped folds",
            "paper": "The released protocol: joint phase on 70 % of all patients, other folds over everybody",
            "external": "A trained model with its threshold on data that it never saw",
        }[protocol],
        "task": "mvb",
        "task_in_words": "malignant against benign",
        "label_rule": "median_high",
        "label_rule_in_words": "the higher median of the ratings: above 3 is malignant, below 3 benign",
        "leaks": [
            "Labels of 70 % of the tested patients shaped the encoder.",
            "The threshold was chosen on the folds that it is tested on.",
            "Slices are counted as cases.",
        ]
        if leaks
        else [],
        "transductive": protocol in ("frozen", "paper"),
        "data": {
            "name": "Made-up lesions",
            "source": MADE_UP,
            "attribution": "nobody's patients",
            "content_hash": "0123456789abcdef" * 4,
            "slices": 13852,
            "nodules": 2615,
            "patients": 875,
            "labelled": {"slices": 8494, "nodules": 1378, "patients": 681, "malignant_nodules": 569},
        },
        "model": {
            "preset": "dirvae",
            "config": {"model": {"prior": "dirichlet", "dimensions": 64}, "training": {"epochs": 30}},
            "name": "dirvae" if protocol == "external" else None,
        },
        "folds": 0 if protocol == "external" else 5,
        "seeds": [0, 1, 2],
        "quick": False,
        "nodule_rule": "attention",
        "nodule_rule_in_words": "a learned attention over the nodule's slices",
        "units": {
            "slice": unit(8494, 681, 0.912 + lift, 1, 0.018),
            "nodule": unit(1378, 681, 0.941 + lift / 2, 2, 0.014),
            "patient": unit(681, 681, 0.918 + lift / 2, 3, 0.022),
        },
        "nodule_rules": {
            name: {"auc": interval(value, 0.014)}
            for name, value in (("mean", 0.938), ("max", 0.929), ("largest", 0.931), ("attention", 0.941))
        },
        "per_seed": [
            {"seed": number, "slice": 0.912 + shift, "nodule": 0.941 + shift, "patient": 0.918 - shift}
            for number, shift in enumerate((0.002, -0.004, 0.003))
        ],
        "stages": {
            "vae": {name: {"auc": interval(value)} for name, value in (("slice", 0.88), ("nodule", 0.905))},
            "joint": {
                name: {"auc": interval(value)} for name, value in (("slice", 0.912), ("nodule", 0.941))
            },
        },
        "baselines": {
            "diameter": baseline("the readers' diameter", True, 0.905, 0.912),
            "area": baseline("the root of the mask's area, largest slice", True, 0.861, 0.917),
            "slices": baseline("how many slices the nodule has", True, 0.85, 0.884),
            "ratings": baseline("eight ratings of the readers, logistic", True, None, 0.926),
            "ratings_size": baseline("ratings and size, logistic", True, None, 0.950),
            "pca": baseline("64 principal components of the pixels, logistic", False, 0.824, 0.848),
            "cnn": baseline("a small supervised network on the pixels", False, 0.885, 0.930),
        },
        "comparisons": {
            "best_size": comparison("area", 0.024),
            "best": comparison("ratings_size", -0.009),
            "diameter": comparison("diameter", 0.029),
            "area": comparison("area", 0.024),
            "cnn": comparison("cnn", 0.011),
            "pca": comparison("pca", 0.093),
        },
        "size_matched": {
            "nodule": {"auc": interval(0.81, 0.03), "pairs": 402, "caliper": 1.0, "what": "within 1 mm"}
        },
        "subgroups": {
            "size_band": [
                group("under 6 mm", 402, 0.71),
                group("6 to under 8 mm", 301, 0.80),
                group("8 to under 15 mm", 388, 0.89),
                group("15 mm and over", 287, 0.93),
            ],
            "texture": [
                group("ground glass", 101, 0.84),
                group("part solid", 44, None),
                group("solid", 1233, 0.94),
            ],
        },
        "calibration": {
            "slice": {"before": 0.081, "after": 0.031, "temperature": 1.62, "bias": -0.08},
            "nodule": {"before": 0.074, "after": 0.024, "temperature": 1.44, "bias": 0.05},
            "patient": {"before": 0.091, "after": 0.037, "temperature": 1.31, "bias": 0.11},
        },
        "reconstruction": None
        if protocol == "external"
        else {
            "window_hu": [-1000.0, 400.0],
            "slices": 1240,
            "patients": 130,
            "whole": figures,
            "inside_mask": {
                **{name: figures[name] for name in ("mse", "mae", "psnr", "mae_hu", "rmse_hu")},
                "margin": interval(0.62),
                "histogram_hu": {"value": 61.0, "low": 58.2, "high": 64.4},
            },
            "by_size": [
                {
                    "band": band,
                    "slices": count,
                    "ssim": interval(value),
                    "mae_hu": figures["mae_hu"],
                    "inside_margin": interval(0.6),
                }
                for band, count, value in (("under 6 mm", 310, 0.84), ("15 mm and over", 290, 0.77))
            ],
            "spectrum": [
                {"from_cycles": low / 16, "to_cycles": (low + 1) / 16, **interval(1 - low / 9)}
                for low in range(8)
            ],
        },
        "settings_chosen": [{"fold": fold, "seed": 0, "hidden": [256], "dropout": 0.3} for fold in range(5)],
        "leak": {
            "steps": [
                leak_step("nested", "nothing of a tested patient is known to the model", 0.912, 0.941, 0.846),
                leak_step(
                    "joint labels", "labels of 70 % of all patients shape the codes", 0.966, 0.971, 0.912
                ),
                leak_step("threshold on the test fold", "changes the accuracy alone", 0.966, 0.971, 0.921),
                leak_step(
                    "settings on the test fold", "the best of ten settings, by test folds", 0.979, 0.98, 0.93
                ),
            ],
            "total": 0.067,
        }
        if leaks
        else None,
        "external": {
            "calibration": {
                "slope": {"value": 0.84, "low": 0.71, "high": 0.97},
                "intercept": {"value": -0.21, "low": -0.4, "high": -0.03},
            },
            "sensitivity_at_specificity": [
                {"specificity": 0.8, "sensitivity": interval(0.88), "threshold": 0.41},
                {"specificity": 0.9, "sensitivity": interval(0.79), "threshold": 0.55},
            ],
            "code_shift": {"auc_of_origin": 0.71, "dimensions": 4, "largest": [0.9, 0.4, 0.2]},
        }
        if protocol == "external"
        else None,
        "seconds": 9120.0,
        "hardware": "two Xeon cores, 24 GiB, no GPU",
        "versions": {"lungvae": "0.1.0", "torch": "2.13.0"},
        "command": f"lungvae evaluate --preset dirvae --data data/made-up --protocol {protocol} --seeds 3",
        "created": "2026-01-02T03:04:05+00:00",
    }


def leak_step(step: str, words: str, slices: float, nodules: float, accuracy: float) -> dict[str, Any]:
    return {
        "step": step,
        "words": words,
        "slice": slices,
        "nodule": nodules,
        "accuracy": accuracy,
        "low": slices - 0.01,
        "high": slices + 0.01,
    }
