"""Images of lesions with the labels they need."""

from __future__ import annotations

import base64
import io
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pages.shared import figures

MODEL: Any = SimpleNamespace(window=(-1000.0, 400.0))


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The HTML that was shown."""
    pages: list[str] = []
    monkeypatch.setattr(figures.st, "html", pages.append)
    return pages


def test_a_slice_has_its_window_its_pixels_and_a_scale_bar_of_10_mm(shown):
    image = np.random.default_rng(0).uniform(0, 1, (64, 64)).astype(np.float32)
    figures.lesion(MODEL, image, "CT <slice>", spacing_mm=0.625)
    [page] = shown
    assert "W 1400 L -300" in page
    assert 'style="width: 25.0%">10 mm' in page  # 16 of 64 pixels
    assert "CT &lt;slice&gt;" in page
    assert "generated" not in page
    png = re.search(r"base64,([^\"]+)", page)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png[1]))))
    np.testing.assert_array_equal(pixels, np.rint(image * 255))


def test_an_unknown_spacing_has_no_bar_and_a_generated_image_has_its_badge(shown):
    image = np.zeros((64, 64), np.float32)
    figures.lesion(MODEL, image, "CT slice")
    figures.generated(MODEL, image, "Reconstruction")
    real, made = shown
    assert "10 mm" not in real
    assert "10 mm" not in made
    assert '<div class="badge">generated</div>' in made
    assert "badge" not in real
