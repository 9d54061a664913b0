"""measured.json of a run: read back or refused, and put into sentences."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.measured import record
from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.config import preset
from lungvae_core.vae.latents import make_latent
from tests.conftest import ROOT


@pytest.fixture
def measured() -> dict[str, Any]:
    return json.loads((ROOT / "models" / "gvae" / record.FILE).read_text())


def test_it_is_read_back_or_absent_and_belongs_to_its_model(
    measured: dict[str, Any], tiny_models: Path, tmp_path: Path
) -> None:
    run = Run.open(Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run")))
    assert record.load(run) is None
    own = measured | {"dimensions": measured["dimensions"][:4], "dimensions_count": 4}
    record.save(run, own)
    assert record.load(run) == own
    record.save(run, measured)
    with pytest.raises(UserError, match="lungvae measure"):
        record.load(run)
    record.save(run, own | {"steps": "many"})
    with pytest.raises(UserError, match="is damaged at steps"):
        record.load(run)


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.4, "+123"), (-6.25, "−6.2"), (0.123, "+0.12"), (0.0, "±0.00"), (-0.001, "±0.00")],
)
def test_numbers_have_a_sign_and_few_digits(value: float, text: str) -> None:
    assert record.number(value) == text


def test_every_dimension_has_a_label_and_the_named_come_first(measured: dict[str, Any]) -> None:
    labels, order = record.labels(measured), record.order(measured)
    assert len(labels) == len(order) == measured["dimensions_count"]
    assert sorted(order) == list(range(len(order)))
    named = [bool(measured["dimensions"][dimension]["properties"]) for dimension in order]
    assert named == sorted(named, reverse=True)
    assert labels[order[0]].name
    assert "95 % interval" in labels[order[0]].sentence


def test_why_a_rating_was_not_judged_is_said(measured: dict[str, Any]) -> None:
    for one in measured["dimensions"]:
        one.pop("judged", None)
    assert "lungvae measure --data" in record.judged_sentence(measured | {"judge": None}, 0, "texture")
    with_reason = measured | {"judge": {"why_not": "Nobody rated it."}}
    assert record.judged_sentence(with_reason, 0, "texture").endswith("has not been judged. Nobody rated it.")


def test_a_judge_is_quoted_with_its_agreement(measured: dict[str, Any]) -> None:
    agreement = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 4_000, "patients": 20}
    alike = {"value": None, "low": None, "high": None, "n": 4, "patients": 2}
    measured["judge"] = {"ratings": {"real": {"texture": agreement}, "reconstructed": {"texture": alike}}}
    sentence = record.judge_sentence(measured, "texture")
    assert "On 4,000 real slices of 20 patients" in sentence
    assert sentence.endswith("is +0.40 (+0.30 to +0.50).")
    assert "cannot be measured on 4 reconstructed slices" in record.judge_sentence(
        measured, "texture", "reconstructed"
    )


def test_fine_detail_at_the_ends_is_said_where_there_is_much(measured: dict[str, Any]) -> None:
    one = measured["dimensions"][0]
    for ends in (None, [0.8, 1.2]):
        one["fine_share"] = ends
        assert record.detail_sentence(measured, 0) == ""
    one["fine_share"] = [1.0, 17.2]
    assert "At its high end the share of detail under four pixels is 17" in record.detail_sentence(
        measured, 0
    )
    one["fine_share"] = [3.5, 1.0]
    assert "low end" in record.detail_sentence(measured, 0)
    if one["judged"]:
        assert record.judged_sentence(measured, 0, next(iter(one["judged"]))).endswith(
            "no reader would count."
        )


def test_a_walk_from_the_mean_code_takes_the_whole_range(measured: dict[str, Any]) -> None:
    config = preset("gvae").model
    codes = np.random.default_rng(0).normal(size=(30, config.dimensions)).astype(np.float32)
    values, walk = record.mean_walk(make_latent(config), codes, measured, 3)
    one = measured["dimensions"][3]
    assert (values[0], values[-1]) == pytest.approx((one["low"], one["high"]))
    np.testing.assert_allclose(walk[:, 3], values, rtol=1e-5)
    np.testing.assert_allclose(np.delete(walk, 3, 1), np.delete(walk, 3, 1)[:1].repeat(len(walk), 0))


def test_outlines_are_closed_and_around_the_lesion() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where(y**2 + x**2 < 64, 0, -850)[None].astype(np.int16)
    [outline] = record.outlines(hu)
    np.testing.assert_array_equal(outline[0], outline[-1])
    radius = np.hypot(*(outline - 31.5).T)
    assert radius == pytest.approx(8, abs=1)
