"""One lesion and what is said of it: intervals, errors, several slices of one nodule."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from tests.made_series import MIDDLE, lesion


@pytest.fixture(scope="module")
def model(tiny_models, tiny_data, tmp_path_factory):
    base = tmp_path_factory.mktemp("cases")
    settings = Settings(
        models=tiny_models, runs=base / "runs", data=tiny_data.parent, workspace=base / "workspace"
    )
    return Registry(settings).load("tiny-gvae")


def test_an_upload_of_a_known_patient_is_warned_about_and_left_out_of_its_neighbours(model, tiny_data):
    hu = np.load(tiny_data / "slices.npy")[12]
    patient = str(model.table["patient_id"].iloc[12])
    case = cases.case_of_upload(model, hu, title="mine", patient_id=patient)
    assert "is a patient of this set" in case.score_note
    assert patient not in set(model.table["patient_id"].iloc[case.neighbours])
    same = cases.case_of_upload(model, hu, title="mine", patient_id="nobody")
    assert (same.patient, same.score) == (patient, case.score)  # by its pixels, whatever it is called
    noise = np.random.default_rng(0).normal(-400, 300, (64, 64)).astype(np.int16)
    other = cases.case_of_upload(model, noise, title="mine", patient_id="nobody")
    assert other.patient is None
    assert "no lesion of the set" in other.score_note


def test_the_error_is_the_reconstruction_less_the_slice(model, tiny_data):
    case = cases.case_of_upload(model, np.load(tiny_data / "slices.npy")[12], title="mine")
    low, high = model.window
    mean = np.abs(case.reconstruction - case.image).mean() * (high - low)
    assert f"{mean:.0f} HU" in cases.error_words(model, case)
    with Image.open(io.BytesIO(cases.error_png(case))) as picture:
        red, _, blue = np.asarray(picture).astype(int).transpose(2, 0, 1)
    assert ((red > blue) == (case.error > 0))[np.abs(case.error) > 0.02].all()


def test_a_nodules_score_comes_from_all_its_slices(model):
    hu, _ = lesion()
    boxes = {number: (MIDDLE[1] + 0.5, float(MIDDLE[2])) for number in (5, 6, 7)}
    found = cases.nodule_of_upload(model, hu, boxes, spacing_mm=0.7)
    assert found.slices == (5, 6, 7)
    singles = [
        cases.case_of_upload(model, cases.crop(hu[at], *boxes[at]), title="").score for at in found.slices
    ]
    np.testing.assert_allclose(found.judged.slices, singles, atol=1e-5)
    assert found.judged.score == pytest.approx(np.mean(singles), abs=1e-5)
    case = cases.case_of_upload(model, cases.crop(hu[6], *boxes[6]), title="")
    assert found.distance_ranks[1] == pytest.approx(case.distance_rank, abs=0.02)
    assert found.ssim_ranks[1] == pytest.approx(case.ssim_rank, abs=0.02)
    assert f"Slice {6 + int(np.abs(found.judged.drives).argmax())}" in cases.nodule_words(found)[0]


def test_too_many_slices_are_no_nodule(model):
    with pytest.raises(UserError, match="no nodule"):
        cases.nodule_of_upload(model, lesion()[0], dict.fromkeys(range(200), (60.0, 60.0)))


def test_what_is_unlike_all_lesions_is_said(model):
    noise = np.random.default_rng(0).integers(-1000, 1000, (64, 64)).astype(np.int16)
    warnings = [
        text for warning, text in cases.hints(cases.case_of_upload(model, noise, title="")) if warning
    ]
    assert any("do not rely on the score" in text for text in warnings)
