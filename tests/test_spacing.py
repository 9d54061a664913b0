"""A model of a fixed pixel spacing sees every slice at it: encoded, predicted, shown, and on the pages."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.cli import main
from lungvae_core.data.resample import to_spacing
from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import classify
from lungvae_core.explore.maps import UNITS, make_maps
from lungvae_core.serving.export.publish import card
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.lesions.cases import case_of_row, case_of_upload
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import encode
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset
from tests.conftest import blobs
from tests.pages.conftest import component_data, open_page

TINY = {"width": 4, "dimensions": 4, "epochs": 1, "batch_size": 32, "spacing_mm": 0.7}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """Every patient with a pixel spacing of their own: 0.5, 0.7 or 0.9 mm."""
    slices, masks, table = blobs(120)
    table["pixel_spacing_mm"] = np.array([0.5, 0.7, 0.9])[np.arange(120) // 5 % 3]
    info = DatasetInfo(name="discs", source="made by the tests", rule="discs in noise", generated=True)
    return write(tmp_path_factory.mktemp("data") / "mixed", slices, masks, table, info)


@pytest.fixture(scope="module")
def runs(data: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, `spaced`."""
    base = tmp_path_factory.mktemp("runs")
    run, _ = fit(override(preset("gvae"), TINY), data, base / "spaced", device="cpu", title="Spaced")
    encode(run, data)
    classify(run, ClassifierConfig(hidden=(8,), epochs=2))
    make_maps(run, ("pca",))
    for unit in UNITS:  # UMAP's compiler takes longer than all else here; the other layout stands in
        table = run.read_table(f"map-{unit}.parquet", hint="")
        run.write_table(f"map-{unit}.parquet", table.assign(umap_x=table["pca_x"], umap_y=table["pca_y"]))
    return base


@pytest.fixture(scope="module")
def model(runs: Path) -> LoadedModel:
    return Registry(Settings(models=runs / "no", runs=runs, data=runs / "no")).load("spaced")


def resampled(data: SliceSet) -> np.ndarray:
    return to_spacing(data.slices, data.table["pixel_spacing_mm"].to_numpy(), 0.7)


def test_codes_are_of_the_resampled_slices(model: LoadedModel, data: SliceSet) -> None:
    np.testing.assert_allclose(model.codes, model.vae.encode_hu(resampled(data)), atol=1e-5)
    native = model.vae.encode_hu(data.slices)
    same = data.table["pixel_spacing_mm"] == 0.7
    np.testing.assert_allclose(model.codes[same], native[same], atol=1e-5)
    assert (np.abs(model.codes[~same] - native[~same]).max(1) > 1e-4).all()


def test_a_slice_of_unknown_spacing_is_not_encoded(runs: Path, data: SliceSet) -> None:
    run = Run.open(runs / "spaced")
    before = (runs / "spaced" / "latents.parquet").read_bytes()
    table = data.table.copy()
    table.loc[7, "pixel_spacing_mm"] = np.nan
    with pytest.raises(UserError, match=r"Slice TEST-0001/0/2 .* Fill the table's column pixel_spacing_mm"):
        encode(run, dataclasses.replace(data, table=table))
    assert (runs / "spaced" / "latents.parquet").read_bytes() == before


def test_shown_slices_are_what_the_model_sees(model: LoadedModel, data: SliceSet) -> None:
    rows = np.array([0, 6, 12, 119])
    images, real = model.images(rows)
    assert real.all()
    np.testing.assert_allclose(images, np.clip((resampled(data)[rows] + 1000.0) / 1400, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(model.image(6)[0], images[1])
    assert [model.shown_spacing(row) for row in rows] == [0.7] * 4
    assert "0.7 mm a pixel" in model.spacing_words


def test_a_prediction_needs_and_uses_the_spacing(model: LoadedModel, data: SliceSet) -> None:
    for row in (0, 6, 12):
        spacing = float(data.table["pixel_spacing_mm"][row])
        found = model.predict(data.slices[row], spacing_mm=spacing)
        np.testing.assert_allclose(found.code, model.codes[row], atol=1e-5)
        case, upload = (
            case_of_row(model, row),
            case_of_upload(model, data.slices[row], title="mine.npy", spacing_mm=spacing),
        )
        assert case.image is not None
        np.testing.assert_array_equal(case.image, upload.image)
        assert case.spacing_mm == upload.spacing_mm == 0.7
    with pytest.raises(UserError, match=r"at 0\.7 mm a pixel.*State it in mm .*--spacing MM"):
        model.predict(data.slices[0])
    with pytest.raises(UserError, match=r"is 500 mm, which is not from"):
        model.predict(data.slices[0], spacing_mm=500)
    with pytest.raises(UserError, match="64x64"):
        model.predict(data.slices[0][:32], spacing_mm=0.7)


def test_a_model_of_native_pixels_asks_for_nothing(tiny_models: Path, tiny_data: Path) -> None:
    native = Registry(Settings(models=tiny_models, runs=tiny_models / "no", data=tiny_data.parent)).load(
        "tiny-gvae"
    )
    slices = SliceSet.open(tiny_data).slices
    assert (native.spacing_mm, native.spacing_words) == (0, "")
    assert native.seen(slices[3], None) is not None
    np.testing.assert_array_equal(native.seen(slices[3], 0.5), slices[3])
    assert case_of_upload(native, slices[3], title="t", spacing_mm=0.5).spacing_mm == 0.5
    assert case_of_upload(native, slices[3], title="t").spacing_mm is None
    assert native.shown_spacing(3) == 0.7


def test_the_card_says_what_was_done_to_the_pixels(runs: Path, tiny_models: Path) -> None:
    spaced, native = card(Run.open(runs / "spaced")), card(Run.open(tiny_models / "tiny-gvae"))
    assert "resampled to 0.7 mm a pixel" in spaced
    assert "native pixel spacing" not in spaced
    assert "native pixel spacing" in native
    assert "resampled" not in native


def test_the_command_line_takes_the_spacing(
    runs: Path,
    data: SliceSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    np.save(tmp_path / "a.npy", data.slices[0])
    volume = nibabel.Nifti1Image(data.slices[0][::-1, ::-1].T[:, :, None], np.diag([0.5, 0.5, 2, 1]))
    nibabel.save(volume, tmp_path / "a.nii.gz")

    def predicted(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lungvae", "predict", str(runs / "spaced"), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, _, err = predicted(tmp_path / "a.npy")
    assert (code, "--spacing MM" in err) == (2, True)
    code, _, err = predicted(tmp_path / "a.npy", "--spacing", 0)
    assert (code, "--spacing is 0 mm" in err) == (2, True)
    code, stated, err = predicted(tmp_path / "a.npy", "--spacing", 0.5)
    assert code == 0, err
    code, own, err = predicted(tmp_path / "a.nii.gz")
    assert code == 0, err
    assert own == stated
    assert predicted(tmp_path / "a.nii.gz", "--spacing", 0.9)[1] != own


@pytest.fixture
def pages(
    runs: Path, data: SliceSet, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_RUNS", str(runs))
    monkeypatch.setenv("LUNGVAE_DATA", str(data.folder.parent))
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    registry.cache_clear()
    yield
    registry.cache_clear()


def npy(hu: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, hu)
    return stream.getvalue()


def uploaded(model: str, name: str, content: bytes) -> AppTest:
    app = open_page("predict/predict.py", source="upload", model=model)
    app.file_uploader[0].set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


def spacing_inputs(app: AppTest) -> list:
    return [field for field in app.number_input if field.label == "Pixel spacing in mm"]


def test_the_predict_page_asks_for_a_spacing_that_an_upload_lacks(
    pages: None, data: SliceSet, model: LoadedModel
) -> None:
    app = uploaded("spaced", "a.npy", npy(data.slices[0]))
    assert "does not tell its own pixel spacing" in app.error[0].value
    assert len(app.metric) == 0
    spacing_inputs(app)[0].set_value(0.5).run()
    assert not app.error
    assert not app.exception
    found = app.session_state["upload_cases"]["slice"][1]
    np.testing.assert_allclose(found.code, model.codes[0], atol=1e-5)
    assert any("resampled to 0.7 mm a pixel" in html.proto.body for html in app.get("html"))
    spacing_inputs(app)[0].set_value(0.9).run()
    assert np.abs(app.session_state["upload_cases"]["slice"][1].code - model.codes[0]).max() > 1e-4


def test_the_predict_page_asks_only_where_it_must(pages: None, data: SliceSet) -> None:
    app = uploaded("tiny-gvae", "a.npy", npy(data.slices[0]))
    assert not spacing_inputs(app)
    assert len(app.metric) == 1
    volume = nibabel.Nifti1Image(data.slices[0][:, :, None], np.diag([0.5, 0.5, 2, 1]))
    app = uploaded("spaced", "a.nii", volume.to_bytes())
    assert not spacing_inputs(app)
    assert len(app.metric) == 1


def test_the_walk_from_a_lesion_has_the_models_scale(pages: None) -> None:
    view = component_data(open_page("traversal/traversal.py", model="spaced", row="0"), "lungvae_traversal")
    assert view is not None
    assert view["realImage"]
    assert view["spacing"] == 0.7
    assert "resampled to 0.7 mm" in view["startLabel"]
