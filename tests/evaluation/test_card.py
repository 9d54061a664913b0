"""evaluation.json: what old runs call by another name, and what is refused before it is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.card import FILE, Card, load_card, save_card
from lungvae_core.evaluation.protocols.config import Protocol
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.report import Report
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run
from tests.conftest import ROOT

PLACES = (ROOT / "models", ROOT / "tests" / "fixtures" / "run-0.1")
OLD = [place / name for place in PLACES for name in ("dirvae", "gvae")]


@pytest.fixture
def run(tiny_models: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_runs_of_older_versions_are_described_by_the_new_name(folder: Path) -> None:
    stored = read_json(folder / FILE, what="The evaluation")
    assert stored["protocol"] == "frozen"
    card = load_card(Run.open(folder))
    assert (card.protocol, card.protocol_in_words) == ("transductive", PROTOCOLS["transductive"].in_full)
    assert card.units.nodule.auc.value == stored["units"]["nodule"]["auc"]["value"]
    assert [unseen for _, unseen in card.parts] == [False, True][: 1 + bool(stored["heldout"])]


def test_every_protocol_has_one_description() -> None:
    names = [get_args(kind.model_fields["protocol"].annotation) for kind in (Report, Card)]
    assert sorted([*names[0], *names[1], "searched"]) == sorted(PROTOCOLS)
    assert set(get_args(Protocol)) < set(names[0])


def test_what_leaks_says_so(run: Run) -> None:
    stored = read_json(run.folder / FILE, what="The evaluation")
    assert not load_card(run).leaks
    write_json(run.folder / FILE, stored | {"protocol": "released"})
    assert load_card(run).leaks
    write_json(run.folder / FILE, stored | {"protocol": "joint", "heldout": None})
    assert [unseen for _, unseen in load_card(run).parts] == [True]


def test_a_report_without_a_figure_is_not_written(run: Run) -> None:
    before = (run.folder / FILE).read_bytes()
    stored = read_json(run.folder / FILE, what="The evaluation")
    stored["units"]["nodule"]["auc"]["value"] = float("nan")
    with pytest.raises(UserError, match=r"not written: it is wrong at units\.nodule\.auc\.value"):
        save_card(run, stored)
    assert (run.folder / FILE).read_bytes() == before
