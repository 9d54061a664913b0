"""Charts that are made without plotly's checks are what plotly would accept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go

from pages.shared import charts


def test_equal_arguments_are_drawn_once():
    drawn = []

    def draw(values, at, *, title):
        drawn.append(title)
        return go.Figure(go.Scatter(x=values), {"title": f"{title} {at['deep'].name}"})

    values, at = np.arange(5.0), {"deep": SimpleNamespace(name="one")}
    first = charts.kept(draw, values, at, title="a")
    assert charts.kept(draw, values.copy(), {"deep": SimpleNamespace(name="one")}, title="a") is first
    assert first.to_dict() == draw(values, at, title="a").to_dict()
    drawn.clear()
    charts.kept(draw, values + 1, at, title="a")
    charts.kept(draw, values, {"deep": SimpleNamespace(name="two")}, title="a")
    charts.kept(draw, values, at, title="b")
    assert drawn == ["a", "a", "b"]


def test_nothing_to_draw_is_nothing():
    assert charts.kept(lambda: None) is None


def test_every_page_places_its_charts_by_the_one_function():
    pages = Path(charts.__file__).parents[1]
    placing = [file.name for file in sorted(pages.rglob("*.py")) if ".plotly_chart(" in file.read_text()]
    assert placing == ["charts.py"]


def test_a_chart_has_plotlys_toolbar_only_where_it_is_asked_for():
    placed = []
    column = SimpleNamespace(plotly_chart=lambda figure, **named: placed.append(named))
    charts.show(go.Figure(), alt="one", where=column)
    charts.show(go.Figure(), alt="two", where=column, toolbar=True, key="two")
    assert placed == [
        {"alt": "one", "config": {"displayModeBar": False}},
        {"alt": "two", "config": None, "key": "two"},
    ]
