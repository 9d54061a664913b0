"""Whole evaluations of tiny trainings: what they find, what they cannot find, and that they go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols import members
from lungvae_core.evaluation.protocols.evaluate import evaluate, work_folder
from lungvae_core.evaluation.protocols.folded import PROGRESS
from lungvae_core.evaluation.protocols.plan import EvaluationConfig
from lungvae_core.evaluation.report import load_report

Make = Callable[..., EvaluationConfig]
# Enough to learn the labels of 60 patients by heart.
BY_HEART = {
    "soft_labels": False,
    "round_epochs": 25,
    "learning_rate": 0.01,
    "rotate_degrees": 0,
    "shift_px": 0,
    "flips": False,
}


@pytest.fixture(scope="module")
def nested(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished nested evaluation of the discs."""
    from tests.evaluation.protocols.conftest import TINY

    out = tmp_path_factory.mktemp("nested") / "report.json"
    config = EvaluationConfig(preset="dirvae", folds=3, quick=True, seeds=2, changes=TINY)
    assert evaluate(config, discs, out, workers=1) is not None
    return out


@pytest.mark.long
def test_what_size_decides_is_found_and_size_stands_beside(nested: Path, discs: SliceSet) -> None:
    report = json.loads(nested.read_text())
    assert report["protocol"] == "nested"
    assert report["leaks"] == []
    assert not report["transductive"]
    assert report["seeds"] == [0, 1]
    labels = discs.labelled()
    assert report["units"]["slice"]["count"] == int((~np.isnan(labels)).sum())
    assert report["units"]["nodule"]["count"] * 5 == report["units"]["slice"]["count"]
    assert report["units"]["nodule"]["auc"]["value"] > 0.9
    assert {"diameter", "area", "pca", "cnn"} <= report["baselines"].keys()
    assert report["baselines"]["diameter"]["nodule"]["auc"]["value"] > 0.99
    assert report["comparisons"]["best_size"]["baseline"] in ("diameter", "area")
    assert report["comparisons"]["best_size"]["paired"]["difference"] <= 0.01
    assert set(report["nodule_rules"]) == {"mean", "max", "top3", "largest", "attention"}
    assert set(report["stages"]) == {"vae", "joint"}
    assert len(report["per_seed"]) == 2
    assert report["reconstruction"]["slices"] == len(discs)  # everyone once, by a model that had not seen it
    chosen = report["settings_chosen"]
    assert {row["fold"] for row in chosen} == {0, 1, 2}
    assert all(
        row["test_patients"] + row["fit_patients"] + row["calibration_patients"] == 60 for row in chosen
    )
    load_report(nested)


@pytest.mark.long
def test_other_tasks_and_rules_share_the_trainings(
    nested: Path, discs: SliceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.evaluation.protocols.conftest import TINY

    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(members, "fit", trained)
    config = EvaluationConfig(
        preset="dirvae", folds=3, quick=True, seeds=2, changes=TINY, task="mvr", label_rule="mean"
    )
    report = evaluate(config, discs, tmp_path / "mvr.json", work=work_folder(nested), workers=1)
    assert report is not None
    assert report["units"]["slice"]["count"] == len(discs)
    assert report["data"]["labelled"]["slices"] == len(discs)


@pytest.mark.long
def test_two_presets_are_averaged(nested: Path, discs: SliceSet, make_config: Make, tmp_path: Path) -> None:
    """The DirVAEs of another report and two GVAEs beside them: each seed has one of both."""
    both = make_config(preset="dirvae+gvae", seeds=2)
    report = evaluate(both, discs, tmp_path / "both.json", work=work_folder(nested), workers=1)
    assert report is not None
    assert report["model"]["preset"] == "dirvae-joint+gvae-joint"
    members = report["settings_chosen"][0]["members"]
    assert [(row["preset"], row["seed"]) for row in members] == [
        ("dirvae-joint", 0),
        ("gvae-joint", 0),
        ("dirvae-joint", 1),
        ("gvae-joint", 1),
    ]
    assert [row["seed"] for row in report["per_seed"]] == [0, 1]
    with pytest.raises(UserError, match="stands twice"):
        evaluate(make_config(preset="gvae+gvae"), discs, tmp_path / "twice.json")


@pytest.mark.long
def test_stopped_it_goes_on_to_the_same_report(discs: SliceSet, make_config: Make, tmp_path: Path) -> None:
    whole = evaluate(make_config("frozen"), discs, tmp_path / "whole.json", workers=1)
    calls = iter(range(10_000))
    stages: list[str] = []
    stopped = evaluate(
        make_config("frozen"),
        discs,
        tmp_path / "parts.json",
        workers=1,
        on_progress=lambda done, total, what: stages.append(what),
        should_stop=lambda: next(calls) > 2,
    )
    assert stopped is None
    assert not (tmp_path / "parts.json").exists()
    parts = evaluate(make_config("frozen"), discs, tmp_path / "parts.json", workers=1)
    assert whole is not None
    assert parts is not None
    for name in ("units", "baselines", "nodule_rules", "reconstruction", "comparisons"):
        assert json.dumps(parts[name]) == json.dumps(whole[name]), name
    progress = json.loads((work_folder(tmp_path / "parts.json") / PROGRESS).read_text())
    assert progress["what"] == "done"
    assert set(stages) <= {"training", "baselines", "classifiers", "figures", "done"}


@pytest.mark.long
def test_labels_random_by_patient_are_chance_when_honest_and_good_when_leaking(
    chance: SliceSet, make_config: Make, tmp_path: Path
) -> None:
    """The planted leak: nothing can be known, the honest protocol knows nothing, the paper's says it does."""
    nested = evaluate(make_config(changes=BY_HEART), chance, tmp_path / "nested.json")
    assert nested is not None
    area = nested["units"]["nodule"]["auc"]
    assert area["low"] < 0.5 < area["high"]
    paper = evaluate(
        make_config("paper", changes=BY_HEART),
        chance,
        tmp_path / "paper.json",
        nested=tmp_path / "nested.json",
    )
    assert paper is not None
    steps = {step["step"]: step for step in paper["leak"]["steps"]}
    assert steps["as released"]["slice"] > 0.7
    assert steps["as released"]["low"] > 0.55
    assert steps["labels the encoder never saw"]["slice"] < steps["as released"]["slice"] - 0.15
    assert steps["nested"]["nodule"] == area["value"]
    assert paper["leaks"]


@pytest.mark.long
def test_what_cannot_be_evaluated_is_said(
    discs: SliceSet, make_config: Make, nested: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--nested belongs to the protocol paper"):
        evaluate(make_config(), discs, tmp_path / "a.json", nested=nested)
    with pytest.raises(UserError, match="its seeds, preset differ"):
        evaluate(make_config("paper"), discs, tmp_path / "a.json", nested=nested)
    unsure = replace(discs, table=discs.table.assign(malignancy=3))
    with pytest.raises(UserError, match="lacks lesions of both classes"):
        evaluate(make_config(), unsure, tmp_path / "a")
