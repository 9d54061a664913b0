"""Every page, dark and light: nothing that axe calls serious, and no error in the console."""

from __future__ import annotations

import pytest

from tests.browser.axe import findings
from tests.browser.conftest import fresh_page, settled, still

# An address of each page at which it shows what it has.
PAGES = {
    "home": "/?model=gvae",
    "map": "/map?model=gvae&row=500",
    "traversal": "/traversal?model=gvae&row=500",
    "predict": "/predict?model=dirvae&row=500",
    "upload": "/predict?source=upload",
    "compare": "/compare?model=gvae&row=500",
    "evaluation": "/evaluation?report=dirvae-paper-mvb",
    "measured": "/measured?model=gvae",
    "factors": "/factors?model=gvae",
    "clusters": "/clusters?model=dirvae",
    "directions": "/directions?model=gvae",
    "train": "/train",
    "search": "/search",
    "tour": "/map?tour=2",
}
SETTLES_MS = 1200  # images and charts come after the script, and may ask for another run


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(chromium, shipped_url, name, scheme):
    errors: list[str] = []
    page = fresh_page(chromium, errors, color_scheme=scheme)
    page.goto(shipped_url + PAGES[name], wait_until="domcontentloaded")
    settled(page)
    still(page, SETTLES_MS)
    shown = page.locator("[data-testid='stApp']").evaluate("app => getComputedStyle(app).colorScheme")
    assert shown == scheme
    assert findings(page) == []
    assert errors == []
    page.context.close()


def test_every_page_of_the_navigation_is_looked_at(page, shipped_url):
    page.goto(shipped_url, wait_until="domcontentloaded")
    settled(page)
    paths = page.locator("[data-testid='stSidebarNavLink']").evaluate_all(
        "links => links.map(link => new URL(link.href).pathname)"
    )
    assert len(paths) > 10
    assert set(paths) <= {address.partition("?")[0] for address in PAGES.values()}


@pytest.mark.long
def test_light_and_dark_can_be_chosen_in_the_menu(page, shipped_url):
    page.goto(shipped_url, wait_until="domcontentloaded")
    settled(page)
    app = page.locator("[data-testid='stApp']")
    scheme = "app => getComputedStyle(app).colorScheme"
    before = app.evaluate(scheme)
    page.get_by_test_id("stMainMenu").get_by_role("button").click()
    wanted = "Light" if before == "dark" else "Dark"
    page.get_by_role("menuitemradio", name=wanted).click()
    page.wait_for_function(f"before => ({scheme})(document.querySelector('.stApp')) !== before", arg=before)


@pytest.mark.long
def test_the_keyboard_leads_through_the_tour(page, shipped_url):
    page.goto(f"{shipped_url}/?tour=1", wait_until="domcontentloaded")
    settled(page)
    for heading in ("Latent map", "Latent map", "Traversal", "Predict", "Evaluation", "Lung lesion explorer"):
        step = page.locator(".st-key-tour p").first.inner_text()
        button = page.locator(".st-key-tour").get_by_role("button", name="Next")
        button.focus()
        button.press("Enter")
        page.wait_for_function(
            "before => document.querySelector('.st-key-tour p').innerText !== before", arg=step
        )
        settled(page)
        page.get_by_role("heading", name=heading, level=1).wait_for()
    assert page.get_by_text("Not a diagnosis, nor a second opinion.").is_visible()
    assert page.get_by_role("button", name="Next").count() == 0
    page.get_by_role("button", name="End").press("Enter")
    page.locator(".st-key-tour").wait_for(state="detached")
    assert "tour=" not in page.url


@pytest.mark.long
def test_another_page_does_not_end_the_tour(page, shipped_url):
    page.goto(f"{shipped_url}/predict?tour=5", wait_until="domcontentloaded")
    settled(page)
    page.get_by_role("link", name="Clusters").click()
    page.get_by_role("heading", name="Clusters", level=1).wait_for()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="Predict", level=1).wait_for()
    assert "tour=5" in page.url
