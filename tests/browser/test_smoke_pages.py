"""Every page opens in a browser without an error, and asks nothing of the internet."""

from __future__ import annotations

import pytest

KNOWN = ["/measured", "/factors", "/clusters", "/directions"]


@pytest.mark.parametrize(
    "path", ["/", "/map", "/traversal", "/predict", "/evaluation", *KNOWN, "/train", "/search"]
)
def test_page_opens_without_errors(page, app_url, open_page, errors, path):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(path)
    page.locator("[data-testid='stSidebar']").get_by_text("Not for clinical use").first.wait_for()
    assert errors == []
    elsewhere = [url for url in asked if not url.startswith((app_url, "data:", "blob:"))]
    assert [url for url in elsewhere if not url.startswith(app_url.replace("http", "ws"))] == []
