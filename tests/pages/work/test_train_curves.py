"""The Train page's figures: what has been written of a training, drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lungvae_core.serving.jobs.progress import TrainingState, read_state
from lungvae_core.training.epochs import DimensionFigures
from lungvae_core.vae.config import override, preset
from pages.work import train_curves


def test_bars_show_both_faces_of_collapse_in_one_order():
    used, unused = train_curves.HELD_OUT, train_curves.UNUSED
    figure = train_curves.dimensions(
        DimensionFigures(kl=[0.001, 2.0, 0.5, 0.00001], column_norm=[1.0, 0.0001, 2.0, 1.5])
    )
    kl, norms = (trace for trace in figure.data if trace.type == "bar")
    assert [entry[0] for entry in kl.customdata] == [entry[0] for entry in norms.customdata] == [1, 2, 0, 3]
    assert list(kl.marker.color) == [used, used, unused, unused]
    assert list(norms.marker.color) == [unused, used, used, used]
    assert figure.layout.yaxis.type == "log"  # or the line at 0.01 would lie on the axis
    even = train_curves.dimensions(DimensionFigures(kl=[2.0, 1.5], column_norm=[1.0, 1.1]))
    assert even.layout.yaxis.type is None


@pytest.fixture
def state(tiny_models: Path) -> TrainingState:
    """The tiny DirVAE's training, of two epochs."""
    read = read_state(tiny_models / "tiny-dirvae")
    assert read is not None
    return read


def test_each_figure_has_a_panel_with_what_was_written_of_it(state):
    figure = train_curves.curves(state)
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0] == "Loss (objective a slice)"
    assert "Active dimensions, held out (of 4)" in titles
    assert "Classifier's label loss (nats a slice)" not in titles  # no joint round was asked for
    trained, held_out = figure.data[:2]
    assert list(trained.x) == [1, 2]
    assert list(trained.y) == [row["train"]["loss"] for row in state.rows]
    assert list(held_out.y) == [row["validation"]["loss"] for row in state.rows]
    assert (trained.name, held_out.name) == ("training slices", "held-out patients")
    assert sum(trace.showlegend for trace in figure.data) == 3  # each colour once
    assert not figure.layout.shapes  # no joint round has begun


def test_a_figure_that_an_older_run_lacks_has_no_panel(state):
    rows = [dict(row, train=dict(row["train"])) for row in state.rows]
    for row in rows:
        del row["train"]["gradient_norm"]
    older = dataclasses.replace(state, rows=rows)
    titles = [note.text for note in train_curves.curves(older).layout.annotations]
    assert "Gradient norm (log scale)" not in titles
    assert len(titles) == len(train_curves.curves(state).layout.annotations) - 1


def test_patients_whose_labels_leak_are_not_called_held_out(state):
    assert train_curves.held_out_words(state) == "held-out patients"
    config = override(preset("dirvae"), {"rounds": 2, "labels_of": "released", "epochs": 5})
    assert (
        train_curves.held_out_words(dataclasses.replace(state, config=config))
        == "patients held out until epoch 5"
    )
