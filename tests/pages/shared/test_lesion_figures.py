"""The lesion card's tables and chart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest

from lungvae_core.palette import ORANGE, SKY
from lungvae_core.serving.lesions.lesion_facts import Rating
from pages.shared import lesion_figures
from pages.shared.lesion_figures import slice_scores


@pytest.mark.parametrize("band", [(0.2, 0.6), None])
def test_the_chart_of_slices_is_a_valid_figure(band):
    scores = np.array([0.1, 0.5, 0.9])
    nodule = SimpleNamespace(slices=scores, score=0.5, drives=scores - 0.5, band=band)
    figure = go.Figure(slice_scores(nodule, 1, numbers=[4, 5, 6]).to_dict())  # raises for what is no property
    assert list(figure.data[0].x) == [4, 5, 6]
    assert list(figure.data[0].marker.line.width) == [0, 3, 0]
    assert [shape.type for shape in figure.layout.shapes] == ["rect", "line"][band is None :]


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The HTML that was shown."""
    pages: list[str] = []
    monkeypatch.setattr(lesion_figures.st, "html", pages.append)
    return pages


def test_bars_that_raise_the_score_have_another_colour():
    nodule = SimpleNamespace(
        slices=np.array([0.2, 0.8]), score=0.5, drives=np.array([-0.3, 0.3]), band=(0.4, 0.6)
    )
    [bars] = slice_scores(nodule, 0).to_dict()["data"]
    assert bars["x"] == [1, 2]  # their own numbers by default
    assert bars["y"] == [0.2, 0.8]
    assert bars["marker"]["color"] == [SKY, ORANGE]
    assert bars["customdata"] == pytest.approx([0.8, 0.2])  # the nodule without each


def test_every_reader_has_a_column_and_who_did_not_rate_an_empty_cell(shown):
    ratings = [
        Rating("malignancy", [5, 4, 4], ["highly suspicious", "suspicious", "suspicious"], (1, 5)),
        Rating("texture", [5], ["solid <1>"], (1, 5)),
    ]
    lesion_figures.ratings_table(ratings)
    [table] = shown
    assert table.count('<th scope="col" class="number"') == 3
    assert '<td class="number" title="suspicious">4</td>' in table
    assert table.count('<td class="number"></td>') == 2
    assert "suspicious – highly suspicious" in table
    assert "solid &lt;1&gt;" in table


def test_facts_are_shown_as_they_are(shown):
    lesion_figures.facts_table([("scanner", "<b>A & B</b>"), ("slices", "5")])
    [table] = shown
    assert table.count("<tr>") == 2
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in table
