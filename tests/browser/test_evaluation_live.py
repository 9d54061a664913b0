"""The Evaluation page and the HTML file in a real browser: what is drawn, and that nothing is loaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lungvae_core.evaluation.html import report_html
from lungvae_core.evaluation.report import save_report
from lungvae_core.evaluation.report_words import LEAKS
from lungvae_core.serving.jobs.evaluations import default_report, evaluations_folder
from lungvae_core.serving.workspace.settings import Settings
from tests.evaluation.made_up import made_up

pytestmark = pytest.mark.long


@pytest.fixture
def reports(app_folders: dict[str, Path]) -> Iterator[Path]:
    """Two MADE-UP reports that the app finds; removed afterwards."""
    settings = Settings(**app_folders)
    for name in ("nested", "paper"):
        save_report(default_report(name, settings), made_up(name))
    yield evaluations_folder(settings)
    shutil.rmtree(evaluations_folder(settings))


@pytest.mark.slow
def test_page_draws_the_report_and_keeps_the_choice_in_the_address(
    open_page: Any, reports: Path, errors: list[str]
) -> None:
    page = open_page("/evaluation?report=nested")
    page.get_by_text("is ahead of mask area alone by 0.024").first.wait_for()
    forest = page.locator("[class*='st-key-evaluation-forest'] .js-plotly-plot")
    forest.locator(".scatterlayer .point").first.wait_for()
    assert forest.locator(".scatterlayer .point").count() == 8  # the model and seven baselines
    assert page.get_by_text(LEAKS).count() == 0
    page.get_by_text("Per slice", exact=True).first.click()
    page.get_by_role("heading", name="All figures, per slice").wait_for()
    assert "unit=slice" in page.url
    assert "report=nested" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML to send").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert [error for error in errors if "404" not in error] == []


@pytest.mark.slow
def test_a_leak_is_warned_of_in_a_band_that_is_seen(open_page: Any, reports: Path) -> None:
    page = open_page("/evaluation?report=paper&unit=slice")
    band = page.get_by_text(LEAKS)
    band.wait_for()
    box = band.bounding_box()
    assert box["y"] < 768  # without scrolling
    assert box["width"] > 600
    bars = page.locator("[class*='st-key-evaluation-leak-slice'] .js-plotly-plot .barlayer .point")
    bars.first.wait_for()
    assert bars.count() == 4


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_html_file_stands_alone(chromium: Any, tmp_path: Path, scheme: str) -> None:
    save_report(tmp_path / "report.json", made_up("paper"))
    report_html(tmp_path / "report.json", tmp_path / "report.html")
    context = chromium.new_context(
        viewport={"width": 900, "height": 800}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "report.html").as_uri())
    assert len(asked) == 1
    assert said == []
    assert page.get_by_text(LEAKS).count() == 2
    # Nothing sticks out of the page, and text is not of the colour that it stands on.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    style = "el => [getComputedStyle(el).color, getComputedStyle(el).backgroundColor]"
    ink, paper = (
        sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in page.locator("body").evaluate(style)
    )
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 450
    # Every word in a figure lies inside it.
    out = page.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].filter(text => {
            const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
            return own.right > all.right + 1 || own.left < all.left - 1;
        }).map(text => text.textContent)"""
    )
    assert out == []
    context.close()
