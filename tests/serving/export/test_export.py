"""A model's explorer as one file: complete, small, without patients unless asked for, safe to open."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungvae_core.errors import UserError
from lungvae_core.serving.export import write
from lungvae_core.serving.export.gather import STEPS, gather
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture(scope="module", params=["tiny-gvae", "tiny-dirvae"])
def model(request, tiny_models, tiny_data, tmp_path_factory) -> LoadedModel:
    nowhere = tmp_path_factory.mktemp("nowhere")
    settings = Settings(models=tiny_models, runs=nowhere, data=tiny_data.parent)
    return Registry(settings).load(request.param)


def picture(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(float)


def test_every_lesion_has_its_place_colour_and_image(model):
    found = gather(model, real=False)
    for unit in ("slice", "nodule"):
        part = found["units"][unit]
        points = np.frombuffer(base64.b64decode(part["points"]["pca"]), "<i2").reshape(-1, 2)
        np.testing.assert_allclose(points / 32767, model.map(unit, "pca"), atol=1e-4)
        index = np.frombuffer(base64.b64decode(part["colours"]["malignancy"]["index"]), "<i2")
        assert len(index) == len(points) == part["count"] == len(part["lesions"]["row"])
        sheet, side, across = picture(part["sheet"]), part["side"], part["across"]
        at = part["count"] - 1
        line, column = divmod(at, across)
        tile = sheet[line * side : (line + 1) * side, column * side : (column + 1) * side]
        row = part["lesions"]["row"][at]
        image = 255 * model.decode(model.codes[row][None])[0]
        factor = 64 // side
        expected = image.reshape(side, factor, side, factor).mean((1, 3))
        assert np.abs(tile - expected).mean() < 4


def test_it_shows_patients_only_when_asked(model):
    assert not any(sum(part["real"]) for part in gather(model, real=False)["units"].values())
    assert all(all(part["real"]) for part in gather(model, real=True)["units"].values())


def test_a_traversal_goes_from_end_to_end_of_a_dimension(model):
    found = gather(model, real=False, units=("nodule",))["traversals"]
    assert len(found["walks"]) >= model.entry.dimensions
    first = found["starts"][0]
    assert first["name"] == "Prior mean"
    assert len(first["scores"]) == 1 + len(found["walks"]) * STEPS == len(first["familiarity"])
    at = len(found["walks"]) - model.entry.dimensions  # the line of the first dimension
    dimension = int(model.order[0])
    own = float(model.starts["prior"][dimension])  # which may lie beyond the lesions' range
    low, high = min(model.ranges[dimension][0], own), max(model.ranges[dimension][1], own)
    code = model.latent.path(model.starts["prior"], dimension, np.array([low, high]))
    sheet = picture(first["sheet"])
    line = sheet[(at + 1) * 64 : (at + 2) * 64]
    for tile, image in zip((line[:, :64], line[:, -64:]), model.decode(code), strict=True):
        assert np.abs(tile - 255 * image).mean() < 4
    np.testing.assert_allclose(
        [first["scores"][1 + at * STEPS], first["scores"][(at + 1) * STEPS]],
        model.score(code, patient=None),
        atol=2e-3,
    )


def test_the_file_loads_nothing_and_holds_no_script_of_the_data(model, tmp_path: Path):
    found = gather(model, real=False, units=("nodule",))
    found["title"] = "</script><script>alert(1)</script>@@DATA@@"
    document = write.to_html(found)
    assert document.count("<script") == 2 == document.count("</script>")
    assert "default-src 'none'" in document
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:""", document)
    data = document.split('id="content">')[1].split("</script>")[0]
    assert json.loads(data)["title"] == found["title"]
    assert write.export_explorer(model, tmp_path / "explorer.html") == len(
        (tmp_path / "explorer.html").read_bytes()
    )


def test_what_cannot_be_exported_is_a_sentence(model, tmp_path: Path, monkeypatch, tiny_models):
    with pytest.raises(UserError, match="folder"):
        write.export_explorer(model, tmp_path)
    monkeypatch.setattr(write, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="nodules-only"):
        write.export_explorer(model, tmp_path / "explorer.html")
    assert not list(tmp_path.iterdir())
    elsewhere = Registry(Settings(models=tiny_models, runs=tmp_path, data=tmp_path)).load(model.entry.name)
    monkeypatch.setattr(type(elsewhere), "pixels", None)
    with pytest.raises(UserError, match="not on this machine"):
        gather(elsewhere, real=True)
