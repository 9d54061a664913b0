"""A report on factors, made once."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.disentanglement import assess
from lungvae_core.evaluation.disentanglement.phantom_scores import Sizes
from lungvae_core.training.checkpoints import Run

EFFORT = assess.Effort(draws=3, refits=1, groups=2, resamples=5)


SIZES = Sizes(free=20, learn=1, test=1, group=2)


@pytest.fixture(scope="session")
def report(tiny_models) -> dict:
    """A DirVAE's report, with the phantom."""
    return assess.assess(Run.open(tiny_models / "tiny-dirvae"), phantom=SIZES, effort=EFFORT)
