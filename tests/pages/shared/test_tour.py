"""The guided tour: a banner that leads from page to page, and stays in the address."""

from __future__ import annotations

import pytest

from lungvae_core.serving.http.routes import registry
from pages.shared import tour
from tests.conftest import ROOT
from tests.pages.conftest import open_page, press, text


def test_every_step_names_a_page_that_there_is():
    for step in tour.STEPS:
        assert (ROOT / "pages" / step.page).is_file()
    assert tour.STEPS[0].page == tour.STEPS[-1].page == "home.py"
    assert tour.Step("map/latent_map.py", "", "").path == "map"


def test_next_leads_to_the_next_page_with_the_example_lesion(models):
    app = open_page("map/latent_map.py", tour="2")
    assert f"2 of {len(tour.STEPS)} · {tour.STEPS[1].title}" in text(app)
    press(app, "Next")
    assert app.query_params["tour"] in ("3", ["3"])
    model = registry().load(app.session_state["model_name"])
    row = int(app.query_params["row"])
    nearest = model.nearness.neighbours(model.starts["malignant"], 1)[0]
    assert row == int(nearest[0])
    press(app, "Back")
    assert f"2 of {len(tour.STEPS)}" in text(app)


def test_on_another_page_it_offers_to_go_on_and_can_be_ended(models):
    app = open_page("compare.py", tour="2")
    assert "You left the tour" in text(app)
    press(app, "End")
    assert "You left the tour" not in text(app)
    assert "tour" not in app.query_params


@pytest.mark.parametrize("at", ["0", "99", "x"])
def test_a_step_that_there_is_not_is_reported_and_ignored(models, at):
    app = open_page("home.py", tour=at)
    assert app.toast
    assert not [button for button in app.button if button.label == "End"]
