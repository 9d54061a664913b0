"""A lesion picked by patient, nodule and slice; each box offers what the one before it leaves."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import labelled, run


def page() -> None:
    import streamlit as st

    from lungvae_core.serving.http.routes import registry
    from pages.shared import lesion_picker

    st.text(lesion_picker.pick_in_address(registry().load("tiny-gvae"), key="lesion"))


def opened(**query: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return run(app)


def test_the_row_of_the_address_is_picked_and_kept(models):
    app = opened(row="12")
    assert app.text[0].value == "12"
    boxes = {label: labelled(app.selectbox, label) for label in ("Patient", "Nodule", "Slice")}
    assert [box.value for box in boxes.values()] == ["TEST-0002", 0, 12]
    assert len(boxes["Patient"].options) == 24
    assert boxes["Slice"].options == ["0", "1", "2", "3", "4"]  # the slices' own numbers
    app.query_params["row"] = "14"
    run(app)
    assert app.text[0].value == "14"
    assert labelled(app.selectbox, "Slice").value == 14


def test_the_first_pick_after_opening_the_page_counts(models):
    app = opened(row="12")
    run(labelled(app.selectbox, "Slice").set_value(14))
    assert app.text[0].value == "14"


def test_another_patient_begins_with_the_nodules_largest_slice(models):
    app = opened(row="12")
    run(labelled(app.selectbox, "Patient").set_value("TEST-0009"))
    table = registry().load("tiny-gvae").table
    row = int(app.text[0].value)
    own = table[table["patient_id"] == "TEST-0009"]
    assert row in own.index
    assert own["area_px"].loc[row] == own["area_px"].max()


@pytest.mark.parametrize("query", [{}, {"row": "120"}, {"row": "x"}])
def test_without_a_row_it_begins_with_a_usual_lesion(models, query):
    app = opened(**query)
    assert int(app.text[0].value) == registry().load("tiny-gvae").usual_row
    assert bool(app.toast) == bool(query)


def test_it_begins_with_the_lesion_selected_on_the_map(models):
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["selected_rows"] = [41]
    assert run(app).text[0].value == "41"
