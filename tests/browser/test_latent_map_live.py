"""The latent map in a real browser: painted, pointed at, selected."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.long

POINTS = 120  # slices of the tiny data
KEY_STEP, ZOOM_OF_PLUS = 60, 1.3  # pixels that an arrow moves the map, and what + enlarges it by: point.js

# Where each point lies on the page, read from the positions that the browser itself was given.
PLACES = """
async ([model, unit, method]) => {
  const answer = await fetch(`/api/models/${model}/points?unit=${unit}&method=${method}`);
  const xy = new Float32Array(await answer.arrayBuffer());
  const find = (node) => {
    for (const each of node.querySelectorAll("*")) {
      if (each.matches("canvas.overlay")) return each;
      const found = each.shadowRoot && find(each.shadowRoot);
      if (found) return found;
    }
    return null;
  };
  const box = find(document).getBoundingClientRect();
  const xs = xy.filter((_, i) => i % 2 === 0);
  const ys = xy.filter((_, i) => i % 2 === 1);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const k = Math.min((box.width - 110) / (right - left), (box.height - 50) / (high - low));
  return Array.from(xs, (x, i) => [
    box.left + box.width / 2 + (x - (left + right) / 2) * k,
    box.top + box.height / 2 - (ys[i] - (low + high) / 2) * k,
  ]);
}
"""


@pytest.fixture
def map_page(open_page, settled_page):
    """map_page("?...") opens the map and waits until it is painted and can be pointed at."""

    def go(query=""):
        page = open_page(f"/map?model=tiny-gvae{query}")
        page.locator(".map[data-ready]").wait_for()
        settled_page(page)
        page.locator("canvas.overlay").scroll_into_view_if_needed()
        return page

    return go


def places(page, unit="slice", method="umap"):
    return page.evaluate(PLACES, ["tiny-gvae", unit, method])


def lonely(spots):
    """The point that is farthest from all others, so that pointing at it cannot mean another."""

    def room(i):
        x, y = spots[i]
        return min(abs(x - a) + abs(y - b) for j, (a, b) in enumerate(spots) if j != i)

    return max(range(len(spots)), key=room)


def pixels(canvas):
    """The canvas as red, green, blue, alpha, 0 to 255 each."""
    return canvas.evaluate("c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)")


def lasso(page, *, shift=False):
    """Draw a lasso around all points; on its way it may cross the toolbar."""
    box = page.locator("canvas.overlay").bounding_box()
    left, right = box["x"] + 6, box["x"] + box["width"] - 6
    top, bottom = box["y"] + 6, box["y"] + box["height"] - 6
    if shift:
        page.keyboard.down("Shift")
    drag(page, (left, top), (right, top), (right, bottom), (left, bottom))
    if shift:
        page.keyboard.up("Shift")


def drag(page, start, *line, steps=5):
    """Press at the start, move along the line and let go."""
    page.mouse.move(*start)
    page.mouse.down()
    for x, y in line:
        page.mouse.move(x, y, steps=steps)
    page.mouse.up()


def middle(page):
    """The middle of the map on the page."""
    box = page.locator("canvas.overlay").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_map_is_painted(map_page, errors):
    page = map_page()
    assert page.locator(".map").get_attribute("data-painted") == str(POINTS)
    assert sum(value > 0 for value in pixels(page.locator("canvas.points"))[3::4]) > POINTS * 10
    assert errors == []


def test_pointing_at_a_lesion_shows_its_image_and_what_it_is(map_page, errors):
    page = map_page()
    page.wait_for_timeout(500)  # the sprites come after the points
    spots = places(page)
    row = lonely(spots)
    page.mouse.move(*spots[row], steps=3)
    card = page.locator(".map .card")
    card.wait_for()
    assert page.locator(".map").get_attribute("data-card") == str(row)
    assert "CT slice" in card.inner_text()
    assert re.search(r"\d readers?: |Malignancy not rated", card.inner_text())
    assert max(pixels(card.locator("canvas"))[0::4]) > 60
    page.mouse.move(5, 5)
    card.wait_for(state="hidden")
    assert errors == []


def test_a_click_selects_and_the_lesions_card_is_shown(map_page, settled_page, errors):
    page = map_page()
    spots = places(page)
    row = lonely(spots)
    page.mouse.click(*spots[row])
    page.get_by_text("1 slice of 1 nodule of 1 patient").wait_for()
    page.locator(".viewer .frame[data-shown]").wait_for()
    settled_page(page)
    assert re.search(rf"[?&]row={row}\b", page.url)
    assert errors == []


def test_a_lasso_selects_shift_adds_and_escape_clears(map_page, settled_page):
    page = map_page()
    spots = places(page)
    row = lonely(spots)
    page.mouse.click(*spots[row])
    page.get_by_text("1 slice of 1 nodule of 1 patient").wait_for()
    lasso(page, shift=True)
    page.locator(f".map[data-selected='{POINTS}']").wait_for()
    page.get_by_text(f"{POINTS} slices of").wait_for()
    page.get_by_text("1 of 2", exact=True).wait_for()
    page.locator(".cards[data-count='60']").wait_for()
    card = page.locator(".cards button[data-row]").first
    assert (
        card.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth }")
        == 64
    )
    page.locator("canvas.overlay").press("Escape")
    page.get_by_text("Nothing selected yet").wait_for()


def test_a_box_selects(map_page):
    page = map_page()
    spots = places(page)
    page.locator(".map [data-tool=box]").click()
    x, y = spots[lonely(spots)]
    drag(page, (x - 7, y - 7), (x + 7, y + 7))
    page.locator(".map:not([data-selected='0'])").wait_for()


def test_the_selection_outlives_colour_method_and_unit(map_page, settled_page, errors):
    page = map_page()
    lasso(page)
    page.get_by_text(f"{POINTS} slices of").wait_for()
    settled_page(page)
    page.get_by_test_id("stMainBlockContainer").get_by_test_id("stSelectbox").first.click()
    page.get_by_role("option", name="Size: bands").click()
    page.locator(".map[data-view='slice/umap/bands']").wait_for()
    assert page.locator(".map").get_attribute("data-selected") == str(POINTS)
    page.get_by_text("PCA", exact=True).click()
    page.locator(".map[data-view='slice/pca/bands']").wait_for()
    assert page.locator(".map").get_attribute("data-selected") == str(POINTS)
    page.get_by_text("nodule", exact=True).click()
    page.locator(".map[data-view='nodule/pca/bands'][data-ready='nodule']").wait_for()
    assert 0 < int(page.locator(".map").get_attribute("data-selected")) <= POINTS
    page.get_by_text(f"{POINTS} slices of").wait_for()
    settled_page(page)
    for part in ("unit=nodule", "method=pca", "colour=bands", "model=tiny-gvae"):
        assert part in page.url
    assert errors == []


def test_a_nodule_that_is_clicked_is_its_largest_slice(map_page):
    page = map_page("&unit=nodule")
    spots = places(page, unit="nodule")
    page.mouse.click(*spots[lonely(spots)])
    page.get_by_text("1 slice of 1 nodule of 1 patient").wait_for()


def test_the_legend_hides_and_isolates(map_page):
    page = map_page("&colour=bands")
    entry = page.locator(".legend .entry").last
    count = int(entry.locator(".count").inner_text())
    entry.locator("button.toggle").click()
    page.locator(f".map[data-shown='{POINTS - count}']").wait_for()
    assert entry.locator("button.toggle").get_attribute("aria-pressed") == "false"
    entry.hover()
    entry.locator("button.only").click()
    page.locator(f".map[data-shown='{count}']").wait_for()
    lasso(page)
    page.get_by_text(f"{count} slices of").wait_for()
    page.locator(".legend button.all").click()
    page.locator(f".map[data-shown='{POINTS}']").wait_for()


def test_a_range_of_a_scale_is_kept_by_the_keyboard(map_page):
    page = map_page("&colour=size")
    handle = page.get_by_label("Lowest value shown")
    for _ in range(200):
        handle.press("ArrowRight")
    shown = int(page.locator(".map").get_attribute("data-shown"))
    assert 0 < shown < POINTS
    page.locator(".legend button.all").click()
    page.locator(f".map[data-shown='{POINTS}']").wait_for()


def test_a_filter_hides_points_here_and_for_who_opens_the_link(map_page, open_page, settled_page, errors):
    page = map_page()
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Search", exact=True).fill("TEST-0002")
    page.get_by_label("Search", exact=True).press("Enter")
    page.wait_for_function(
        "map => Number(map.dataset.shown) < 120", arg=page.locator(".map").element_handle()
    )
    settled_page(page)
    shown = page.locator(".map").get_attribute("data-shown")
    assert int(shown) > 0
    again = open_page(page.url.partition(page.url.split("/map")[0])[2])
    again.locator(f".map[data-shown='{shown}']").wait_for()
    assert errors == []


def test_a_map_in_space_turns_under_the_pointer(map_page, errors):
    page = map_page("&method=pca&dims=3")
    page.locator(".map[data-dims='3']").wait_for()
    turned = page.locator(".map").get_attribute("data-turned")
    before = pixels(page.locator("canvas.points"))
    x, y = middle(page)
    drag(page, (x, y), (x + 120, y + 40))
    assert page.locator(".map").get_attribute("data-turned") != turned
    assert pixels(page.locator("canvas.points")) != before
    assert page.locator(".map").get_attribute("data-selected") == "0"
    page.locator("canvas.overlay").press("0")
    page.locator(".map[data-zoom='1.00']").wait_for()
    assert errors == []


def test_a_line_that_is_drawn_is_decoded(map_page, settled_page, errors):
    page = map_page("&method=pca")
    page.locator(".map [data-tool=path]").click()
    x, y = middle(page)
    drag(page, (x - 90, y), (x, y - 40), (x + 90, y + 30), steps=10)
    page.get_by_text("Along the line that you drew").wait_for()
    film = page.locator(".film")
    film.scroll_into_view_if_needed()  # it is fetched when it is seen
    settled_page(page)
    page.wait_for_function("film => film.dataset.frame !== undefined", arg=film.element_handle())
    page.locator("canvas.overlay").press("Escape")
    page.get_by_text("Along the line that you drew").wait_for(state="detached")
    assert errors == []


def test_density_is_drawn_over_the_points(map_page, errors):
    page = map_page("&method=pca&density=1")
    page.locator(".map[data-contours]:not([data-contours='0'])").wait_for()
    assert sum(value > 0 for value in pixels(page.locator("canvas.lines"))[3::4]) > 100
    assert errors == []


def test_the_map_is_usable_by_keys_alone(map_page):
    page = map_page()
    canvas = page.locator("canvas.overlay")
    box = canvas.bounding_box()
    offsets = np.array(places(page)) - [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    canvas.focus()
    for key in ("ArrowLeft", "ArrowRight", "+"):
        canvas.press(key)
    canvas.press("Enter")  # points at what lies under the cross, where that is a lesion
    # The lesion that whole steps bring nearest to the cross, on the map that is larger now.
    steps = offsets * ZOOM_OF_PLUS / KEY_STEP
    steps = np.rint(steps[np.abs(steps - np.rint(steps)).max(1).argmin()]).astype(int)
    for count, (back, on) in zip(steps, (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown")), strict=True):
        for _ in range(abs(count)):
            canvas.press(on if count > 0 else back)
    page.locator(".map[data-hover='1']").wait_for()
    canvas.press("Enter")
    page.get_by_text("1 slice of 1 nodule of 1 patient").wait_for()


def test_the_selection_is_a_file_with_the_notice(map_page):
    page = map_page("&row=7")
    page.get_by_text("1 slice of 1 nodule of 1 patient").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    table = pd.read_csv(io.BytesIO(download.value.path().read_bytes()))
    assert table["row"].tolist() == [7]
    assert "Not for clinical use" in table["notice"].iloc[0]


def test_the_wheel_zooms_until_points_become_images(map_page):
    page = map_page()
    spots = places(page)
    page.mouse.move(*spots[lonely(spots)])
    page.locator(".map[data-zoom='1.00']").wait_for()
    for _ in range(8):
        page.mouse.wheel(0, -240)
    page.wait_for_function("map => Number(map.dataset.zoom) > 5", arg=page.locator(".map").element_handle())
    page.locator(".map [data-do=fit]").click()
    page.locator(".map[data-zoom='1.00']").wait_for()


def test_clusters_are_outlined_and_say_what_they_are(page, shipped_url, settled_page, errors):
    stored = json.loads((ROOT / "models" / "gvae" / "clusters.json").read_text())
    count = stored["methods"]["kmeans"]["count"]
    page.goto(f"{shipped_url}/map?model=gvae&unit=nodule&clusters=kmeans", wait_until="domcontentloaded")
    page.locator(f".map[data-ready][data-outlines='{count}']").wait_for()
    settled_page(page)
    assert sum(value > 0 for value in pixels(page.locator("canvas.lines"))[3::4]) > 500
    names = page.get_by_role("button", name="Cluster ")
    assert names.count() == count > 1
    tip = page.locator(".map .tip")
    assert tip.is_hidden()
    names.first.hover()
    tip.wait_for()
    text = tip.inner_text()
    for word in ("nodules of", "patients", "Malignant:", "Median diameter", "95 % interval"):
        assert word in text
    # They can be read without a mouse, and taken away.
    page.mouse.move(5, 5)
    names.nth(1).focus()
    tip.filter(has_text=names.nth(1).inner_text()).wait_for()
    names.nth(1).press("Escape")
    tip.wait_for(state="hidden")
    page.goto(f"{shipped_url}/map?model=gvae&unit=nodule", wait_until="domcontentloaded")
    page.locator(".map[data-ready][data-outlines='0']").wait_for()
    assert names.count() == 0
    assert errors == []
