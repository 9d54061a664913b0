"""What an exported explorer shows: complete, and without patients unless asked for."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from lungvae_core.serving.export.gather import STEPS, gather


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
