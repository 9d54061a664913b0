"""evaluation.json of older versions is read as a report; what a run's report must have is checked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.html import to_html
from lungvae_core.evaluation.protocols.config import Protocol
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.report import OF_RUN, Report, load_run_report, save_report
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run
from tests.conftest import ROOT

# Of runs of version 0.1.0, and of later ones from before reports had a type.
PLACES = [ROOT / "tests" / "fixtures" / name for name in ("run-0.1", "reports-untyped")]
OLD = [place / name for place in PLACES for name in ("dirvae", "gvae")]
JOINT = [ROOT / "tests" / "fixtures" / "reports-untyped" / "gvae-guided"]


@pytest.fixture
def run(tiny_models: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_runs_of_older_versions_are_described_by_the_new_name(folder: Path) -> None:
    stored = read_json(folder / OF_RUN, what="The evaluation")
    assert stored["protocol"] == "frozen"
    report = load_run_report(Run.open(folder))
    assert (report.protocol, report.protocol_in_words) == ("transductive", PROTOCOLS["transductive"].in_full)
    assert report.units.nodule.auc.value == stored["units"]["nodule"]["auc"]["value"]
    assert [unseen for _, unseen in report.parts] == [False, True][: 1 + bool(stored["heldout"])]


@pytest.mark.parametrize("folder", [*OLD, *JOINT], ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_nothing_of_an_older_evaluation_is_lost(folder: Path) -> None:
    stored, report = read_json(folder / OF_RUN, what="The evaluation"), load_run_report(Run.open(folder))
    for name in ("transductive", "task", "seeds", "classifier"):
        assert getattr(report, name) == stored[name]
    for part, of_part in ((report, stored), (report.heldout, stored["heldout"] or {})):
        for name, units in {"": of_part.get("units", {}), **of_part.get("baselines", {})}.items():
            for unit, figures in units.items():
                if unit in ("slice", "nodule"):
                    one = (part.baselines[name] if name else part.units).of(unit)
                    assert one.auc.model_dump() == figures["auc"]
    assert report.validation.ssim == stored["reconstruction"]["ssim"]
    assert (report.diagnosis is None) == (stored.get("diagnosis") is None)
    counted = report.data.counted
    assert (counted and counted.model_dump()) == stored.get("counted")
    assert report.data.name in to_html(report)


def test_seeds_of_an_older_evaluation_are_kept(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD[-1], tmp_path / "run")
    stored = read_json(folder / OF_RUN, what="The evaluation")
    repeats = {"seeds": [0, 1], "slice": {"auc": [0.8, 0.9]}, "nodule": {"auc": [0.7, 0.6]}}
    write_json(folder / OF_RUN, stored | {"repeats": repeats})
    rows = load_run_report(Run.open(folder)).per_seed
    assert [(row.seed, row.slice, row.nodule) for row in rows] == [(0, 0.8, 0.7), (1, 0.9, 0.6)]
    write_json(folder / OF_RUN, stored | {"repeats": {"seeds": [0]}})
    with pytest.raises(UserError, match="damaged"):
        load_run_report(Run.open(folder))


def test_every_protocol_has_one_description() -> None:
    names = get_args(Report.model_fields["protocol"].annotation)
    assert sorted([*names, "searched"]) == sorted(PROTOCOLS)
    assert set(get_args(Protocol)) < set(names)


def test_what_leaks_says_so(run: Run) -> None:
    stored = read_json(run.folder / OF_RUN, what="The evaluation")
    assert not load_run_report(run).leaks
    write_json(run.folder / OF_RUN, stored | {"protocol": "released"})
    with pytest.raises(UserError, match="must say how it leaks"):
        load_run_report(run)
    kept = ("protocol_in_words", "units", "baselines", "seeds", "transductive")
    older = {name: stored[name] for name in kept}
    write_json(run.folder / OF_RUN, older | {"protocol": "released"})
    assert load_run_report(run).leaks
    write_json(run.folder / OF_RUN, stored | {"protocol": "joint", "heldout": None})
    assert [unseen for _, unseen in load_run_report(run).parts] == [True]


def test_a_report_without_a_figure_is_not_written(run: Run) -> None:
    before = (run.folder / OF_RUN).read_bytes()
    stored = read_json(run.folder / OF_RUN, what="The evaluation")
    stored["units"]["nodule"]["auc"]["value"] = float("nan")
    with pytest.raises(UserError, match=r"not written: .*units\.nodule\.auc lacks a number"):
        save_report(run.folder / OF_RUN, stored)
    assert (run.folder / OF_RUN).read_bytes() == before


def test_a_new_report_counts_its_data(run: Run) -> None:
    stored = read_json(run.folder / OF_RUN, what="The evaluation")
    del stored["data"]["labelled"]
    with pytest.raises(UserError, match="not counted"):
        save_report(run.folder / OF_RUN, stored)
