"""The Predict page without a browser: a lesion of the set, uploads good and bad."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.data.masks import centres
from lungvae_core.files import read_json, write_json
from lungvae_core.serving.http.routes import registry
from tests.made_series import MIDDLE, dicom, lesion, zipped
from tests.pages.conftest import component_data, labelled, open_page, press, run, text


def opened(**query: str) -> AppTest:
    return open_page("predict/predict.py", **query)


def uploaded(name: str, content: bytes) -> AppTest:
    app = opened(source="upload")
    app.file_uploader[0].set_value((name, content, "application/octet-stream"))
    return run(app)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_a_lesion_of_the_set_shows_its_stored_score_and_other_patients(models, name):
    app = opened(model=name, row="12")
    model = registry().load(name)
    assert app.metric[0].value == f"{model.table['score'].iloc[12]:.2f}"
    assert "not a probability" in app.metric[0].label
    rows = [card["row"] for card in component_data(app, "lesion_cards")["cards"]]
    patients = model.table["patient_id"].iloc[[12, *rows]]
    assert patients.is_unique
    said = text(app)
    assert NOTICE in said
    assert "not seen this patient" in said
    assert "no clinical meaning" in said
    np.testing.assert_allclose(component_data(app, "latent_map")["marker"], model.map("slice", "umap")[12])


def test_another_lesion_can_be_picked(models):
    app = opened(row="12")
    run(labelled(app.selectbox, "Patient").set_value("TEST-0009"))
    row = int(app.query_params["row"])
    assert registry().load("tiny-gvae").table["patient_id"].iloc[row] == "TEST-0009"


def test_the_score_stands_beside_the_evaluation_and_size(models):
    app = opened(row="12")
    table = app.table[0].value
    assert "readers' diameter alone" in table
    assert "model" in table


def test_a_small_array_is_scored_as_it_is(models, tiny_data):
    patch = np.load(tiny_data / "slices.npy")[12]
    app = uploaded("mine.npy", npy(patch))
    assert len(app.metric) == 1
    viewer = component_data(app, "slice_viewer")
    assert (viewer["place"], viewer["count"]) == (False, 1)
    assert component_data(app, "latent_map")["marker"] is not None
    button = labelled(app.button, "Walk from this lesion")
    button.click().run()
    assert app.title[0].value == "Traversal"
    assert app.session_state["start_code"].shape == (4,)
    assert app.session_state["start_code_name"] == "your image, mine.npy"
    assert app.segmented_control[0].value == "Your image"
    assert "code:" not in str(app.query_params)


def place(app: AppTest, at: int, row: float, column: float) -> None:
    """What a click in the viewer comes to."""
    state = app.session_state["upload_place"]
    state.at, state.position = at, (row, column)
    run(app)


def test_a_large_image_is_scored_once_the_lesion_is_shown(models):
    app = uploaded("mine.npy", npy(lesion()[0][MIDDLE[0]]))
    assert len(app.metric) == 0
    assert "Click the middle of the lesion" in app.info[0].value
    viewer = component_data(app, "slice_viewer")
    assert viewer["place"]
    assert viewer["source"].startswith("/api/uploads/")
    assert list(viewer["presets"]) == ["Lung", "Mediastinum", "Bone", "Model's"]
    place(app, 0, 50, 60)
    assert component_data(app, "slice_viewer")["position"] == [50, 60]
    assert len(app.metric) == 1
    assert viewer["source"].rsplit("/", 1)[1] not in str(app.query_params)


def test_a_series_is_outlined_and_its_nodule_judged(models):
    hu, mask = lesion()
    files = {f"a/IM{number}": content for number, content in enumerate(dicom(hu))}
    app = uploaded("series.zip", zipped(files))
    assert component_data(app, "slice_viewer")["count"] == len(hu)
    place(app, *MIDDLE)
    assert len(app.metric) == 1
    press(app, "Outline it")
    assert [metric.label.split(" ")[0] for metric in app.metric] == ["Nodule", "Model"]
    viewer = component_data(app, "slice_viewer")
    assert viewer["outlines"]
    slices = sorted(int(number) for number in viewer["positions"])
    assert abs(len(slices) - mask.any((1, 2)).sum()) <= 1
    np.testing.assert_allclose(viewer["positions"][str(MIDDLE[0])], MIDDLE[1:], atol=1)
    assert "found automatically: check it" in text(app)
    most = next(button for button in app.button if "drives it most" in button.label)
    if not most.disabled:
        most.click().run()
        assert component_data(app, "slice_viewer")["at"] in slices
    press(app, "Clear")
    assert len(app.metric) == 1
    assert not component_data(app, "slice_viewer")["outlines"]


def test_a_mask_beside_the_image_puts_the_box_by_the_papers_rule(models):
    hu, mask = lesion()
    app = opened(source="upload")
    app.file_uploader[0].set_value([("ct.npy", npy(hu), "x/y"), ("ct_mask.npy", npy(mask), "x/y")])
    run(app)
    assert component_data(app, "slice_viewer")["positions"] == {
        str(number): list(pair) for number, pair in sorted(centres(mask).items())
    }
    assert app.metric[0].label.startswith("Nodule score")


def test_a_range_of_slices_is_a_nodule(models):
    app = uploaded("stack.npy", npy(lesion()[0][4:9, 20:84, 20:84]))
    assert len(app.metric) == 1
    slider = app.slider[0]
    assert (slider.min, slider.max) == (1, 5)
    slider.set_value((2, 4)).run()
    assert app.metric[0].label.startswith("Nodule score")
    press(app, "Clear")
    assert len(app.metric) == 1


def test_a_picture_needs_the_range_that_its_greys_stand_for(models):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(stream, "PNG")
    app = uploaded("mine.png", stream.getvalue())
    assert "State the HU range" in app.error[0].value
    app.number_input[0].set_value(-1000)
    app.number_input[1].set_value(400)
    app.run()
    assert not app.error
    assert len(app.metric) == 1
    app.number_input[1].set_value(-2000).run()
    assert "lower value first" in app.error[0].value


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.pdf", b"%PDF-1.7"),
        ("mine.npy", b"garbage"),
        ("mine.npy", npy(np.zeros((40, 40), np.int16))),
        ("mine.npy", npy(np.zeros((64, 64), np.float32))),
        ("mine.dcm", b"x" * 500),
        ("mine.nii.gz", b"x" * 500),
        ("no-ending", b""),
    ],
)
def test_a_bad_upload_gets_a_sentence_and_no_score(models, name, content):
    app = uploaded(name, content)
    assert len(app.error) == 1
    assert app.error[0].value.endswith(".")
    assert "Traceback" not in text(app)
    assert len(app.metric) == 0


def test_without_the_data_reconstructions_are_shown_and_called_so(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    config = folder / "config.json"
    write_json(config, {**read_json(config, what=""), "data_folder": ""})
    (folder / "evaluation.json").unlink()
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "nothing"))
    registry.cache_clear()
    app = opened(row="12")
    said = text(app)
    assert "reconstructions, generated by" in said
    assert "was not evaluated" in said
    assert not any(card["real"] for card in component_data(app, "lesion_cards")["cards"])


def test_a_model_without_a_classifier_has_no_score(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    (folder / "classifier.safetensors").unlink()
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    registry.cache_clear()
    app = uploaded("mine.npy", npy(lesion()[0][MIDDLE[0], 20:84, 20:84]))
    assert "no classifier" in text(app)
    assert len(app.metric) == 0
