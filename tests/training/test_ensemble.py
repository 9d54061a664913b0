"""The scores' bands: classifiers fitted on patients drawn again, and computed together."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import Classifier, ClassifierConfig
from lungvae_core.training.ensemble import (
    CHUNK,
    FEWEST,
    FILE,
    Ensemble,
    StackedClassifiers,
    fit_ensemble,
    load_ensemble,
    save_ensemble,
)
from lungvae_core.training.inputs import Inputs

K = 6
AXES = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
INPUTS = [Inputs(simplex, guided) for simplex in (False, True) for guided in (0, 2)] + [Inputs(axes=AXES)]
CONFIG = ClassifierConfig(hidden=(8,), epochs=3, batch_size=64)


def lesions(patients: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (N, 4), labels and patients of three slices each; the first dimension carries the label."""
    generator = np.random.default_rng(seed)
    of = np.repeat(np.arange(patients), 3)
    labels = (of % 2).astype(float)
    codes = generator.normal(size=(len(of), 4))
    codes[:, 0] += 1.5 * labels
    return codes.astype(np.float32), labels, np.array([f"P{number:03d}" for number in of])


@pytest.fixture
def tiny_run(tiny_models: Path, tmp_path: Path) -> Run:
    """A finished run that a test may change."""
    return Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    found = fit_ensemble(*lesions(30), CONFIG, inputs=Inputs(), members=16)
    assert found is not None
    return found


def test_a_band_is_a_range_of_scores_in_order(ensemble):
    codes = lesions(30)[0]
    band = ensemble.band(codes)
    assert band.shape == (len(codes), 2)
    assert ((band[:, 0] >= 0) & (band[:, 0] < band[:, 1]) & (band[:, 1] <= 1)).all()


def test_a_known_patient_is_judged_by_members_that_did_not_learn_from_it(ensemble):
    unseen = ensemble.unseen("P004")
    assert FEWEST <= unseen.sum() < len(ensemble.members)
    assert not ensemble.drew[unseen, ensemble.patients.index("P004")].any()
    assert ensemble.unseen("nobody").all()
    codes = lesions(30)[0][:2]
    scores = ensemble.scores(codes)
    np.testing.assert_allclose(
        ensemble.band(codes, patient="P004"), np.quantile(scores[unseen], [0.05, 0.95], axis=0).T
    )


def test_each_member_leaves_out_about_37_percent_of_the_patients():
    found = fit_ensemble(*lesions(60), CONFIG.model_copy(update={"epochs": 1}), inputs=Inputs(), members=20)
    assert found is not None
    assert found.drew.mean() == pytest.approx(1 - np.exp(-1), abs=0.04)


def test_the_same_configuration_gives_the_same_band(ensemble):
    again = fit_ensemble(*lesions(30), CONFIG, inputs=Inputs(), members=16)
    codes = lesions(30)[0]
    np.testing.assert_array_equal(again.band(codes), ensemble.band(codes))


def test_saved_and_loaded_it_gives_the_same_band_to_half_precision(ensemble, tiny_run):
    save_ensemble(tiny_run, ensemble)
    loaded = load_ensemble(tiny_run)
    codes = lesions(30)[0]
    assert loaded.patients == ensemble.patients
    np.testing.assert_array_equal(loaded.drew, ensemble.drew)
    np.testing.assert_allclose(loaded.band(codes), ensemble.band(codes), atol=5e-3)


def test_a_handful_of_patients_gives_no_band():
    codes, labels, patients = lesions(30)
    labels[:] = patients == "P000"
    few = fit_ensemble(codes, labels, patients, CONFIG, inputs=Inputs(), members=10)
    assert few is None or few.unseen("P000").sum() == 0 or few.band(codes, patient="P000") is None


def test_a_damaged_file_says_what_to_do(ensemble, tiny_run):
    save_ensemble(tiny_run, ensemble)
    whole = (tiny_run.folder / FILE).read_bytes()
    (tiny_run.folder / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_ensemble(tiny_run)


def classifiers(hidden: tuple[int, ...], inputs: Inputs, *, count: int = 5) -> list[Classifier]:
    """Classifiers with statistics of their own in every batch norm, as fitted ones have."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        member = Classifier(K, ClassifierConfig(hidden=hidden), inputs)
        for name, tensor in member.state_dict().items():
            if tensor.is_floating_point() and name != "axes":  # those are the run's
                drawn = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(drawn.abs() + 0.1 if name.endswith(("var", "deviation")) else drawn)
        made.append(member.eval())
    return made


def some_codes(count: int) -> np.ndarray:
    return np.random.default_rng(count).dirichlet(np.ones(K), count).astype(np.float32)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("hidden", [(), (8,), (16, 8, 4)])
@pytest.mark.parametrize("count", [1, 40, CHUNK + 1])
def test_together_they_score_as_one_by_one(hidden: tuple[int, ...], inputs: Inputs, count: int) -> None:
    members, codes = classifiers(hidden, inputs), some_codes(count)
    apart = np.stack([member.logits(codes) for member in members])
    together = StackedClassifiers(members).logits(codes)
    assert together.shape == (len(members), count)
    np.testing.assert_allclose(together, apart, rtol=2e-6, atol=2e-6 * np.abs(apart).max())


def test_no_codes_have_no_logits() -> None:
    assert StackedClassifiers(classifiers((8,), Inputs())).logits(some_codes(0)).shape == (5, 0)


def test_threads_that_score_at_once_do_not_disturb_each_other() -> None:
    members = classifiers((8,), Inputs())
    ensemble = Ensemble(tuple(members), ("a", "b"), np.ones((5, 2), bool))
    codes = some_codes(64)
    before = np.stack([member.logits(codes) for member in members])
    expected = [ensemble.scores(codes[row : row + 3]) for row in range(60)]

    def score(number: int) -> bool:
        row = number % 60
        members[0].logits(codes[row : row + 1])
        return np.allclose(ensemble.scores(codes[row : row + 3]), expected[row], rtol=0, atol=1e-6)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(score, range(600)))
    np.testing.assert_array_equal(np.stack([member.logits(codes) for member in members]), before)
