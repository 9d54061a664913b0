"""Films on a page: frames at even distances, marked downloads, and names that tell model and path."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from pages.shared import film
from tests.pages.conftest import component_data, fetched, run, text


def page() -> None:
    from lungvae_core.serving.http.routes import registry
    from lungvae_core.serving.walks import paths
    from pages.shared import film

    model = registry().load("tiny-gvae")
    way = paths.between(model, "straight", model.codes[0], model.codes[60])
    film.show(model, way.codes, patient=None, key="walk", title="From A to B", ends=("A", "B"))


def test_a_path_is_played_and_offered_as_files(models):
    app = run(AppTest.from_function(page, default_timeout=60))
    shown = component_data(app, "filmstrip")
    assert shown["ends"] == ["A", "B"]
    assert fetched(shown["source"])["count"] == 25
    labels = [button.label for button in app.get("download_button")]
    assert labels == ["Strip as PNG", "Film as GIF", "Film as MP4"]
    assert "Every frame is generated" in text(app)
    assert "no lesion of the set" in text(app)  # where its scores come from


def test_frames_of_a_strip_are_labelled_by_their_share_of_the_way(models):
    model = registry().load("tiny-gvae")
    images = np.arange(5.0)[:, None, None].repeat(64, 1).repeat(64, 2)
    made: Any = SimpleNamespace(codes=np.zeros((5, 4)), images=images, scores=np.linspace(0, 1, 5))
    walk = film._walk(model, made, "From A to B", ("A", "B"), np.array([0, 2, 4]))
    assert walk.ticks == ("A", "50%", "B")
    assert walk.images[:, 0, 0].tolist() == [0, 2, 4]
    assert walk.scores.tolist() == [0, 0.5, 1]
    made.scores = None
    assert film._walk(model, made, "From A to B", ("A", "B"), np.array([0, 4])).scores is None
