"""The panel of a selected group, without a browser."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.lesions import sets
from tests.pages.conftest import component_data, press, run, text


def panel() -> None:
    import streamlit as st

    from lungvae_core.serving.http.routes import registry
    from pages.map import group
    from pages.shared import selection

    model = registry().load("tiny-gvae")
    group.from_address(model)
    group.show(model, selection.rows(model), key="group")
    st.text(f"focus {selection.focus(model)}")


def opened(rows: list[int], **state: object) -> AppTest:
    app = AppTest.from_function(panel, default_timeout=60)
    app.session_state["selected_rows"] = rows
    app.session_state["selected_data"] = registry().load("tiny-gvae").entry.data.content_hash
    for name, value in state.items():
        app.session_state[name] = value
    return run(app)


def test_the_gallery_pages_through_the_whole_group_in_the_order_asked_for(models):
    app = opened(list(range(100)), group_order="size")
    assert "100 slices of 20 nodules of 20 patients" in text(app)
    first = [card["row"] for card in component_data(app, "lesion_cards")["cards"]]
    app.session_state["group_page"] = 2
    app.run()
    second = [card["row"] for card in component_data(app, "lesion_cards")["cards"]]
    assert sorted(first + second) == list(range(100))
    sizes = registry().load("tiny-gvae").table["diameter_mm"].iloc[first + second]
    assert sizes.is_monotonic_decreasing


def test_what_is_typical_is_shown_with_its_limits(models):
    app = opened(list(range(60)), group_part="typical")
    assert len(app.get("plotly_chart")) == 2
    assert "is not a test" in text(app)
    assert len(component_data(app, "lesion_cards")["cards"]) == 6
    assert "no intervals" in text(opened([0, 1, 5], group_part="typical"))
    assert "nothing to compare it with" in text(opened(list(range(120)), group_part="typical"))


def test_means_are_of_no_patient(models):
    said = text(opened(list(range(30)), group_part="mean"))
    assert "Neither is a patient's lesion" in said


def test_a_set_is_saved_asked_about_opened_and_deleted(models):
    app = opened([3, 1, 2], group_part="sets")
    app.text_input(key="group_name").set_value("Round *ones*")
    press(app, "Save")
    settings, model = registry().settings, registry().load("tiny-gvae")
    (kept,) = sets.sets(settings, model)
    assert (kept.name, kept.count) == ("Round *ones*", 3)

    app.session_state["selected_rows"] = [7, 8]
    app.run()
    app.text_input(key="group_name").set_value("Round *ones*")
    press(app, "Save")
    assert "already" in text(app)
    assert sets.load(settings, model, kept.id) == [1, 2, 3]
    press(app, "Replace it")
    (kept,) = sets.sets(settings, model)
    assert sets.load(settings, model, kept.id) == [7, 8]

    app.session_state["selected_rows"] = []
    app.run()
    press(app, "Open")
    assert app.session_state["selected_rows"] == [7, 8]
    press(app, "Delete the set")
    assert sets.sets(settings, model) == []


def test_saving_nothing_says_what_is_missing(models):
    assert "Give the set a name" in text(press(opened([1], group_part="sets"), "Save"))


def test_a_set_in_the_address_is_selected_until_the_selection_moves_on(models):
    kept = sets.save(registry().settings, registry().load("tiny-gvae"), "mine", [4, 5])
    app = opened([1])
    app.query_params["set"] = str(kept.id)
    app.run()
    assert app.session_state["selected_rows"] == [4, 5]
    assert app.query_params["set"] in (str(kept.id), [str(kept.id)])
    app.session_state["selected_rows"] = [6]
    app.run()
    assert app.session_state["selected_rows"] == [6]
    assert "set" not in app.query_params
    app.query_params["set"] = "999"
    app.run()
    assert "no such set" in app.toast[0].value


def test_one_lesion_is_its_card_and_a_clicked_one_leads_back_to_the_group(models):
    assert component_data(opened([7]), "slice_viewer")["at"] == 2
    app = opened([3, 9], group_one=(9, [3, 9]))
    assert component_data(app, "slice_viewer")["source"].endswith("/nodules/5")
    press(app, "Back to the group")
    assert component_data(app, "slice_viewer") is None
    app = opened([3, 8], group_one=(9, [3, 9]))  # of another group
    assert component_data(app, "slice_viewer") is None
