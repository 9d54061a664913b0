"""Train in a real browser: start, see curves and samples, close the tab, find the training again, stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace.settings import Settings

pytestmark = pytest.mark.long


@pytest.fixture
def jobs(app_folders: dict[str, Path]) -> Iterator[Jobs]:
    """The app's jobs; what the test leaves running is stopped, for nothing else would ever stop it."""
    found = Jobs(Settings(**app_folders))
    yield found
    for job in found.all():
        found.stop(job.id)


def epoch(sentence: str) -> int:
    """7 from "Epoch 7, slices of ..."."""
    return int(sentence.split()[1].rstrip(","))


@pytest.mark.slow
def test_training_started_in_a_tab_is_found_in_the_next(
    open_page: Any, app_url: str, jobs: Jobs, errors: list[str]
) -> None:
    page = open_page("/train")
    for group in ("Objective", "Latent space", "Optimiser", "Augmentation", "Joint phase (labels)"):
        assert page.get_by_text(group, exact=True).is_visible()
    page.get_by_text("Network and image", exact=True).click()
    for label, value in (("Epochs", 10_000), ("Latent dimensions", 4), ("Width (channels)", 4)):
        page.get_by_role("spinbutton", name=label, exact=True).fill(str(value))
    page.get_by_role("textbox", name="Name of the run").fill("from-the-browser")
    page.get_by_role("button", name="Start training").click()
    page.get_by_text("You can close this tab").wait_for()
    curves = page.locator("[class*='st-key-train-curves'] .js-plotly-plot .scatterlayer path.js-line")
    curves.first.wait_for(timeout=90_000)
    page.locator("[data-testid='stImage'] img").first.wait_for()
    bars = page.locator("[class*='st-key-train-dimensions'] .js-plotly-plot .barlayer .point")
    bars.first.wait_for()
    assert bars.count() == 2 * 4  # the KL of each dimension, and its column's norm
    context = page.context
    page.close()

    # Another tab, with nothing but the page's address.
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{app_url}/train", wait_until="domcontentloaded")
    page.get_by_text("from-the-browser, dirvae on tiny discs: running").wait_for()
    # It goes on, and the page follows it without being touched.
    said = page.get_by_text(", slices of held-out patients")
    first = said.inner_text()
    page.wait_for_function(
        "first => ![...document.querySelectorAll('p')].some(p => p.innerText === first)", arg=first
    )
    assert epoch(said.inner_text()) > epoch(first)
    page.get_by_test_id("stButton").get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Resume").wait_for(timeout=60_000)
    assert page.get_by_text("stopped. It can continue from its last checkpoint").is_visible()
    assert "job=" in page.url
    assert [job.status for job in jobs.all() if job.name == "from-the-browser"] == ["stopped"]
    assert page.locator("[data-testid='stException']").count() == 0
    assert [error for error in errors if "404" not in error] == []
