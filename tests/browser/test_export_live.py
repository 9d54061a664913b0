"""The exported explorer in a real browser, opened as a file."""

from __future__ import annotations

import pytest

from lungvae_core.serving.export.write import export_explorer
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def exported(tiny_models, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("export")
    model = Registry(Settings(models=tiny_models, runs=folder, data=folder)).load("tiny-dirvae")
    export_explorer(model, folder / "explorer.html")
    return (folder / "explorer.html").as_uri()


@pytest.fixture
def explorer(page, exported, errors):
    page.goto(exported)
    page.locator("html[data-ready]").wait_for()
    yield page
    assert errors == []


def test_lesions_are_shown_under_the_pointer_and_by_keys(explorer):
    canvas = explorer.locator("#points")
    canvas.press("n")
    card = explorer.locator("#card")
    assert "TEST-" in card.inner_text()
    assert "generated" in card.inner_text()
    first = card.get_attribute("data-row")
    canvas.press("n")
    assert card.get_attribute("data-row") != first
    assert card.locator("canvas").evaluate(
        "c => Math.max(...c.getContext('2d').getImageData(0, 0, c.width, c.height).data.slice(0, 4000))"
    )
    explorer.locator("#find").fill("test-0003")
    assert explorer.locator("#said").inner_text() == "5 slices found."
    explorer.locator("#unit").select_option("nodule")
    assert explorer.locator("#said").inner_text() == "1 nodule found."


def test_a_slider_shows_what_was_decoded_for_it(explorer):
    explorer.locator("#now[data-place]").wait_for()
    slider = explorer.locator("#sliders input").last
    slider.focus()
    slider.press("End")
    explorer.locator("#now[data-place$='/10']").wait_for()
    grey = "c => Math.max(...c.getContext('2d').getImageData(0, 0, 64, 64).data.filter((_, i) => i % 4 < 3))"
    assert explorer.locator("#now").evaluate(grey) > 20
    assert "Model score" in explorer.locator("#score").inner_text()
    explorer.locator("#start").select_option("1")
    explorer.locator("#now[data-place^='1/']").wait_for()


def test_light_and_dark_are_readable(explorer):
    from axe_playwright_python.sync_playwright import Axe

    for _ in range(2):
        found = Axe().run(explorer).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        explorer.locator("#theme").click()
