"""A lesion's card in a browser: its slices, outlines and windows."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.long


@pytest.fixture
def card(open_page):
    """The map page with the card of a lesion of five slices, the third one in view."""
    page = open_page("/map?model=tiny-gvae&row=12")
    page.locator(".viewer .frame[data-shown='2']").wait_for()
    return page


def test_all_slices_can_be_scrolled_through_with_their_outlines(card, errors):
    card.locator(".viewer .frame[data-outlined='1']").wait_for()
    card.get_by_text("Slice 3 of 5").wait_for()
    card.locator(".viewer .frame").hover()
    card.mouse.wheel(0, 120)
    card.locator(".viewer .frame[data-shown='3'][data-outlined='1']").wait_for()
    card.get_by_text("Slice 4 of 5").wait_for()
    card.locator(".viewer .frame").press("Home")
    card.locator(".viewer .frame[data-shown='0']").wait_for()
    card.get_by_text("Slice 1 of 5").wait_for()
    assert card.locator(".viewer .badge").inner_text() == "CT slice"
    assert card.locator(".viewer .scale").is_visible()
    assert errors == []


def test_presets_change_width_and_level_and_the_image(card):
    frame = card.locator(".viewer canvas")
    lung = frame.screenshot()
    card.get_by_role("button", name="Mediastinum").click()
    assert "W 350" in card.locator(".viewer .window").inner_text()
    card.wait_for_timeout(100)
    assert frame.screenshot() != lung


def test_a_neighbour_opens_its_own_card(card):
    card.locator(".cards[aria-label='Most similar lesions of other patients'] button").first.click()
    card.get_by_text("TEST-0002, nodule 0", exact=True).wait_for(state="detached")
    card.locator(".viewer .frame[data-outlined='1']").wait_for()
