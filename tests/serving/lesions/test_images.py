"""Images and sprites over HTTP, with the data and without."""

from __future__ import annotations

import io
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core import NOTICE
from lungvae_core.serving.lesions import cases, images, selection
from lungvae_core.serving.models.registry import Registry
from tests.serving.conftest import NAMES


def client_of(registry: Registry) -> TestClient:
    return TestClient(Starlette(routes=images.routes(lambda: registry)), base_url="http://testserver")


def sprites_of(client: TestClient, name: str) -> bytes:
    for _ in range(200):
        answer = client.get(f"/api/models/{name}/sprites")
        if answer.status_code == 200:
            return answer.content
        assert answer.status_code == 202
        time.sleep(0.05)
    raise AssertionError("the sprites were never made")


@pytest.mark.parametrize("name", NAMES)
def test_sprites_show_each_slice_at_its_place(with_data, name):
    model = with_data.load(name)
    sheet = np.asarray(Image.open(io.BytesIO(sprites_of(client_of(with_data), name))), float) / 255
    assert sheet.shape == (32, 4096)
    for row in (0, 57, 119):
        wanted = model.image(row)[0].reshape(32, 2, 32, 2).mean((1, 3))
        found = sheet[:, row * 32 : row * 32 + 32]
        assert np.abs(wanted - found).mean() < 0.02


def test_without_the_data_sprites_are_made_once_from_reconstructions(without_data, monkeypatch):
    model = without_data.load("tiny-gvae")
    jpeg = sprites_of(client_of(without_data), "tiny-gvae")
    sheet = np.asarray(Image.open(io.BytesIO(jpeg)), float) / 255
    wanted = model.decode(model.codes[3][None])[0].reshape(32, 2, 32, 2).mean((1, 3))
    assert np.abs(wanted - sheet[:, 96:128]).mean() < 0.02
    kept = without_data.settings.workspace / "cache"
    for _ in range(100):  # written just after they can be had
        if list(kept.glob("sprites-*.jpg")):
            break
        time.sleep(0.05)
    monkeypatch.setattr(images, "_atlas", lambda model: pytest.fail("made again"))
    assert images.Sprites(model, kept).get() == jpeg


def test_a_damaged_cache_of_sprites_is_made_again(without_data):
    model = without_data.load("tiny-dirvae")
    sprites = images.Sprites(model, without_data.settings.workspace / "damaged")
    path = sprites._cache / sprites._file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no jpeg")
    assert sprites.get() is None
    sprites._worker.join(30)
    assert Image.open(io.BytesIO(sprites.get())).size == (4096, 32)


def test_a_slice_is_the_real_one_and_can_be_its_reconstruction(with_data):
    model, client = with_data.load("tiny-gvae"), client_of(with_data)
    real = client.get("/api/models/tiny-gvae/slices/7.png")
    made = client.get("/api/models/tiny-gvae/slices/7.png?kind=reconstruction")
    assert (real.headers["x-generated"], made.headers["x-generated"]) == ("0", "1")
    pixels = np.asarray(Image.open(io.BytesIO(real.content)))
    np.testing.assert_array_equal(pixels, np.rint(model.image(7)[0] * 255))
    assert np.asarray(Image.open(io.BytesIO(made.content))).shape == (64, 64)
    assert made.content != real.content


def test_without_the_data_a_slice_is_its_reconstruction(without_data):
    answer = client_of(without_data).get("/api/models/tiny-gvae/slices/7.png")
    assert answer.headers["x-generated"] == "1"


@pytest.mark.parametrize(
    "path",
    [
        "no-such-model/sprites",
        "../slices/1.png",
        "tiny-gvae/slices/120.png",
    ],
)
def test_what_is_not_there_is_a_404(with_data, path):
    assert client_of(with_data).get(f"/api/models/{path}").status_code == 404


# ---- what is said of a selection and of a case ----------------------------------------------------------


def test_a_selection_is_counted_and_exported_with_the_notice(with_data):
    model = with_data.load("tiny-gvae")
    assert selection.valid_rows(model, [3, 3, -1, 120, 0]) == [3, 0]
    assert selection.counted(model, [0]) == "1 slice of 1 nodule of 1 patient"
    assert selection.counted(model, [0, 1, 7]) == "3 slices of 2 nodules of 2 patients"
    table = pd.read_csv(io.BytesIO(selection.csv(model, [7, 0])))
    assert table["row"].tolist() == [7, 0]
    assert set(table["notice"]) == {NOTICE}
    assert set(table["model"]) == {"tiny-gvae"}
    shares = selection.composition(model, [0, 1, 7])
    np.testing.assert_allclose(shares.sum(), 1)


def test_a_case_of_the_set_has_its_stored_score_and_other_patients(with_data):
    model = with_data.load("tiny-gvae")
    case = cases.case_of_row(model, 12)
    assert case.score == pytest.approx(model.table["score"].iloc[12])
    assert "not seen this patient" in case.score_note
    patients = model.table["patient_id"].iloc[[12, *case.neighbours]]
    assert patients.is_unique
    assert case.image is not None


def test_a_case_without_the_data_has_no_slice(without_data):
    case = cases.case_of_row(without_data.load("tiny-gvae"), 12)
    assert case.image is None
    assert case.reconstruction.shape == (64, 64)


def test_an_upload_of_a_patient_of_the_set_says_so(with_data, tiny_data):
    model = with_data.load("tiny-gvae")
    hu = np.load(tiny_data / "slices.npy")[12]
    patient = model.table["patient_id"].iloc[12]
    case = cases.case_of_upload(model, hu, title="mine", patient_id=patient)
    assert "a patient of this set" in case.score_note
    assert patient not in model.table["patient_id"].iloc[case.neighbours].tolist()
    # Whatever its file is called: by its pixels.
    assert "a patient of this set" in cases.case_of_upload(model, hu, title="mine").score_note
    other = np.roll(hu[::-1] // 2, 20, axis=1)
    assert "a patient of this set" not in cases.case_of_upload(model, other, title="mine").score_note


def test_an_odd_image_is_called_odd(with_data):
    noise = np.random.default_rng(0).integers(-1000, 400, (64, 64)).astype(np.int16)
    case = cases.case_of_upload(with_data.load("tiny-gvae"), noise, title="noise")
    assert any(warning for warning, _ in cases.hints(case))


def test_neighbours_ratings_are_each_readers(with_data):
    model = with_data.load("tiny-gvae")
    table = cases.ratings(model, [0, 30], [0.1, 0.25])
    assert table["distance"].tolist() == [0.1, 0.25]
    assert table["texture, each reader"].iloc[0] == model.table["texture_all"].iloc[0].replace("|", ", ")


def test_an_evaluation_is_shown_beside_size(with_data):
    table, words = cases.evaluated(with_data.load("tiny-gvae").evaluation)
    assert "readers' diameter alone" in table
    assert table["model"].str.contains("to").all()
    assert "patient-grouped" in words
    assert cases.evaluated(None) is None
