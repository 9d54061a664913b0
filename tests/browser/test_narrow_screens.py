"""On a telephone and on a tablet nothing lies over anything else, and no page is wider than the screen."""

from __future__ import annotations

import itertools

import pytest

from tests.browser.conftest import fresh_page, settled

LINKS = "[data-testid='stSidebarNavLink']"
WIDTHS = (420, 820)
PARTS = ".view .pictures > figure, .view .small:not([hidden]), .view .score, .view .facts, .view .controls"
BOX = """part => {
    const box = part.getBoundingClientRect();
    return [part.className || part.textContent.trim(), box.left, box.top, box.right, box.bottom];
}"""


@pytest.fixture(params=WIDTHS)
def narrow(request, chromium, errors):
    page = fresh_page(chromium, errors)
    page.set_viewport_size({"width": request.param, "height": 900})
    yield page
    page.context.close()


def test_the_parts_of_a_traversal_lie_beside_one_another(narrow, app_url):
    narrow.goto(f"{app_url}/traversal?model=tiny-gvae", wait_until="domcontentloaded")
    narrow.locator(".view .score .value").filter(has_text=".").wait_for()
    settled(narrow)
    boxes = narrow.locator(PARTS).evaluate_all(f"parts => parts.map({BOX})")
    assert len(boxes) >= 6
    for (one, *a), (other, *b) in itertools.combinations(boxes, 2):
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert across <= 1 or down <= 1, (one, other)


@pytest.mark.long
def test_no_page_is_wider_than_the_screen(narrow, app_url):
    narrow.goto(app_url, wait_until="domcontentloaded")
    settled(narrow)
    paths = narrow.locator(LINKS).evaluate_all("links => links.map(link => new URL(link.href).pathname)")
    assert len(paths) > 10
    for path in paths:
        narrow.goto(f"{app_url}{path}", wait_until="domcontentloaded")
        settled(narrow)
        wide = narrow.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path
