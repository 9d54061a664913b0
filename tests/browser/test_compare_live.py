"""Two maps side by side in a browser: what is pointed at or clicked in one is so in the other."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.long


@pytest.fixture
def compared(open_page):
    page = open_page("/compare?model=tiny-gvae&method=pca")
    for side in (0, 1):
        page.locator(".map[data-ready]").nth(side).wait_for()
    return page


def test_one_hover_and_one_selection(compared, errors):
    left, right = compared.locator(".map[data-ready]").nth(0), compared.locator(".map[data-ready]").nth(1)
    canvas = left.locator("canvas.overlay")
    box = canvas.bounding_box()
    # Along a line through the middle there is some lesion under the pointer.
    for share in range(10, 90):
        compared.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + box["height"] / 2)
        if right.get_attribute("data-linked") not in (None, "-1"):
            break
    row = right.get_attribute("data-linked")
    assert row not in (None, "-1")
    compared.mouse.down()
    compared.mouse.up()
    compared.wait_for_url(f"**row={row}*")
    compared.get_by_text("Most similar to each model").wait_for()
    assert compared.get_by_text("nearest nodules").count() == 1
    assert compared.locator(".picture .badge").count() == 2  # a reconstruction each
    assert errors == []
