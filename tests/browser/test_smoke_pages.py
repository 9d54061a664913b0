"""Every page of the navigation opens in a browser without an error, and asks nothing of the internet."""

from __future__ import annotations

from tests.browser.conftest import settled

LINKS = "[data-testid='stSidebarNavLink']"


def test_every_page_opens_without_errors(page, app_url, open_page, errors):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_page("/")
    paths = page.locator(LINKS).evaluate_all("links => links.map(link => new URL(link.href).pathname)")
    assert len(paths) > 10
    titles = set()
    for path in paths:
        open_page(path)
        page.locator("[data-testid='stSidebar']").get_by_text("Not for clinical use").first.wait_for()
        assert page.get_by_role("heading", level=1).count() == 1, path
        assert page.get_by_text("What this does not mean").first.is_visible(), path
        assert page.get_by_text("How to use this page").first.is_visible(), path
        titles.add(page.title())
        assert errors == [], path
    assert len(titles) == len(paths)
    elsewhere = [url for url in asked if not url.startswith((app_url, "data:", "blob:"))]
    assert [url for url in elsewhere if not url.startswith(app_url.replace("http", "ws"))] == []


def test_pages_are_changed_by_their_links(open_page):
    page = open_page("/")
    for name, heading in (("Latent map", "Latent map"), ("Home", "Lung lesion explorer")):
        page.locator(LINKS).filter(has_text=name).first.click()
        page.get_by_role("heading", name=heading, level=1).wait_for()
        settled(page)
