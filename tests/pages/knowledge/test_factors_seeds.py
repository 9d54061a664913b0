"""The comparison over seeds in words."""

from __future__ import annotations

import json
import random

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement.seeds import read_over_seeds
from pages.knowledge import factors_figures, factors_seeds
from tests.wrong_shapes import WRONG, places, replaced


@pytest.mark.parametrize("kind", ["missing", "null", "text", "list", "empty object", "large"])
def test_a_wrong_value_anywhere_over_seeds_is_refused_or_shown(kind, tmp_path):
    """Every place of docs/seeds.json: what its door lets in can be drawn and put in words."""
    whole, path, let_in, refused = json.loads(factors_seeds.SEEDS.read_text()), tmp_path / "seeds.json", [], 0
    for at in places(whole):
        path.write_text(json.dumps(replaced(whole, at, WRONG[kind])))
        try:
            let_in.append(read_over_seeds(path))
        except UserError:
            refused += 1
            continue
        factors_seeds.source(let_in[-1])
        factors_seeds.verdict(let_in[-1]["differences"], let_in[-1]["comparisons"])
    assert refused > 10
    report = random.Random(kind).choice(let_in)  # one, since a chart takes half a second
    for variant in {key.split("/")[0] for group in report["groups"] for key in group["figures"]}:
        factors_figures.over_seeds(report, variant)


DIFFERENCE = {
    "figure": "raw/mig",
    "first": ["gaussian", "code"],
    "second": ["dirichlet", "code"],
    "difference": 0.6,
    "low": 0.5,
    "high": 0.7,
    "won": 9,
    "of": 9,
    "clear": True,
}


def test_a_difference_says_of_what_and_in_how_many_pairs():
    words = factors_seeds.difference(DIFFERENCE)
    assert words.startswith("mutual information gap (raw): GVAE less DirVAE +0.6")
    assert words.endswith("GVAE higher in 9 of 9 pairs of seeds")
    ratios = factors_seeds.difference({**DIFFERENCE, "second": ["dirichlet", "log_ratio"], "won": 0})
    assert "GVAE less DirVAE's log-ratios" in ratios
    assert "higher in 0 of 9" in ratios


def test_without_a_clear_difference_neither_prior_is_better():
    assert "neither prior is better here" in factors_seeds.verdict([], 37)
    said = factors_seeds.verdict([DIFFERENCE], 37)
    assert said.startswith("1 of 37 differences are significant")
    assert f"- {factors_seeds.difference(DIFFERENCE)}" in said
