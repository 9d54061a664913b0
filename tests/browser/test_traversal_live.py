"""Dragging a traversal slider changes the image while the button is down, in a real browser."""

from __future__ import annotations

import json

import numpy as np
import pytest

# Notes every decoded image, with a checksum of the canvas, and whether the button was down.
RECORD = """
() => {
  const record = { down: false, images: [] };
  window.record = record;
  document.addEventListener("pointerdown", () => { record.down = true; }, true);
  document.addEventListener("pointerup", () => { record.down = false; }, true);
  document.addEventListener("input", () => { record.moved = performance.now(); }, true);
  document.addEventListener("decoded", (event) => {
    const canvas = event.composedPath()[0];
    const pixels = canvas.getContext("2d").getImageData(0, 0, 64, 64).data;
    let sum = 0;
    for (let at = 0; at < pixels.length; at += 1) sum = (sum * 31 + pixels[at]) % 4294967291;
    record.images.push({
      sum, down: record.down, move: event.detail.move, wait: event.detail.put - record.moved,
    });
  });
}
"""

CANVAS = """
canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, 64, 64).data).filter((_, at) => at % 4 === 0)
"""


def slider_of(page, dimension=None):
    selector = "input[type=range][data-dimension]"
    return page.locator(selector if dimension is None else f"{selector[:-1]}='{dimension}']").first


def ready(page):
    """Wait until the first image is there."""
    page.wait_for_function(
        """() => {
          const find = (node) => {
            for (const each of node.querySelectorAll("*")) {
              if (each.shadowRoot) {
                const found = each.shadowRoot.querySelector("#now") ?? find(each.shadowRoot);
                if (found) return found;
              }
            }
            return null;
          };
          const canvas = find(document);
          return canvas && canvas.getContext("2d").getImageData(32, 32, 1, 1).data[3] === 255
            && canvas.getContext("2d").getImageData(0, 0, 64, 64).data.some((v, at) => at % 4 !== 3 && v > 0);
        }""",
        timeout=90_000,
    )


def drag(page, slider, moves=60, to=0.9):
    """Press, move in steps to a share of the slider's width; the button stays down."""
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    share = slider.evaluate("e => (e.value - e.min) / (e.max - e.min)")
    start = box["x"] + 8 + share * (box["width"] - 16)
    end = box["x"] + 8 + to * (box["width"] - 16)
    page.mouse.move(start, y)
    page.mouse.down()
    for at in range(1, moves + 1):
        page.mouse.move(start + (end - start) * at / moves, y)
        page.wait_for_timeout(8)


@pytest.mark.parametrize("model", ["tiny-gvae", "tiny-dirvae"])
def test_the_image_changes_while_the_button_is_down(open_page, settled_page, errors, model):
    page = open_page(f"/traversal?model={model}&start=prior")
    ready(page)
    slider = slider_of(page)
    dimension = int(slider.get_attribute("data-dimension"))
    page.evaluate(RECORD)
    drag(page, slider)
    page.wait_for_timeout(300)
    held = page.evaluate("window.record.images")
    assert len(held) >= 10
    assert all(image["down"] for image in held)
    assert len({image["sum"] for image in held}) >= 5

    # The last image is that of the slider's last value.
    value = float(slider.input_value())
    assert held[-1]["move"] == [dimension, pytest.approx(value)]
    shown = page.locator("#now").evaluate(CANVAS)
    page.mouse.up()
    answer = page.evaluate(
        """([model, dimension, value]) => new Promise((resolve) => {
          const socket = new WebSocket(`ws://${location.host}/api/live/${model}`);
          socket.binaryType = "arraybuffer";
          const request = { id: 1, start: "prior", move: [dimension, value] };
          socket.onopen = () => socket.send(JSON.stringify(request));
          socket.onmessage = (event) => { resolve(Array.from(new Uint8Array(event.data))); socket.close(); };
        })""",
        [model, dimension, value],
    )
    # Under the hand it may be a few shades off; at rest it is the model's own.
    exact = answer[-2 * 4096 : -4096]
    np.testing.assert_allclose(shown, exact, atol=6)
    settled_page(page)
    page.wait_for_timeout(500)
    np.testing.assert_array_equal(page.locator("#now").evaluate(CANVAS), exact)

    waits = [image["wait"] for image in held]
    print(
        f"{model}: {len(held)} images, median {np.median(waits):.1f} ms, "
        f"95th percentile {np.percentile(waits, 95):.1f} ms from the newest move"
    )
    assert errors == []


@pytest.mark.long
def test_letting_go_is_heard_by_the_page_and_kept_in_the_address(open_page, settled_page, errors):
    page = open_page("/traversal?model=tiny-dirvae&row=12")
    ready(page)
    slider = slider_of(page, 1)
    page.locator("#now").evaluate("canvas => { canvas.dataset.same = 'yes'; }")
    drag(page, slider, moves=10)
    page.mouse.up()
    page.wait_for_url("**edits=1%3A*")
    settled_page(page)
    assert "row=12" in page.url
    assert "dimension=1" in page.url
    # The view was not built anew, and the other sliders follow on the simplex.
    assert page.locator("#now").get_attribute("data-same") == "yes"
    values = [float(each) for each in page.locator(".row output").all_inner_texts()]
    assert sum(values) == pytest.approx(1, abs=0.03)

    # Opening the address again shows the same image.
    shown = page.locator("#now").evaluate(CANVAS)
    again = open_page(page.url.removeprefix(page.url.split("/traversal")[0]))
    ready(again)
    again.wait_for_timeout(300)
    difference = np.abs(np.array(again.locator("#now").evaluate(CANVAS)) - np.array(shown))
    assert difference.max() == 0
    assert errors == []


@pytest.mark.long
def test_the_strip_follows_the_slider_moved_last_even_the_same_one(open_page, settled_page):
    page = open_page("/traversal?model=tiny-gvae&start=prior")
    ready(page)
    slider = slider_of(page, 1)
    for to in (0.7, 0.3):
        slider.evaluate("e => e.scrollIntoView({block: 'center'})")  # at an edge the page's head covers it
        settled_page(page)
        page.wait_for_timeout(300)
        drag(page, slider, moves=5, to=to)
        page.mouse.up()
        moved = f"edits=1%3A{float(slider.input_value()):.4g}"[:-1]
        page.wait_for_url(lambda url, moved=moved: "dimension=1&" in url + "&" and moved in url)
        settled_page(page)
        box = page.get_by_role("combobox", name="Whole range of one dimension")
        box.scroll_into_view_if_needed()  # scrolling would close the list
        page.wait_for_timeout(300)
        box.click()
        page.get_by_role("option", name="z 3").click()
        page.wait_for_url("**dimension=3*")
        settled_page(page)
        picture = page.get_by_alt_text("the whole range of dimension 3")
        picture.scroll_into_view_if_needed()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 1000", arg=picture.element_handle()
        )
    page.get_by_role("button", name="z 0", exact=True).click()
    page.wait_for_url("**dimension=0*")


def test_keyboard_and_resets(open_page, errors):
    page = open_page("/traversal?model=tiny-gvae&start=prior")
    ready(page)
    first = page.locator("#now").evaluate(CANVAS)
    slider = slider_of(page, 2)
    slider.focus()
    steps = "e => Math.round((e.value - e.min) / e.step)"
    before = slider.evaluate(steps)
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert slider.evaluate(steps) == before + 20
    page.keyboard.press("End")
    reset = page.get_by_role("button", name="Reset dimension 2")
    page.wait_for_url("**edits=2%3A*")
    assert slider.evaluate("e => e.getRootNode().activeElement === e")  # the rerun left the focus alone
    assert page.locator("#now").evaluate(CANVAS) != first
    reset.click()
    page.wait_for_url(lambda url: "edits" not in url)
    assert page.locator("#now").evaluate(CANVAS) == first
    assert reset.is_disabled()
    assert page.get_by_role("button", name="Reset all").is_disabled()
    assert errors == []


@pytest.mark.long
def test_a_guided_share_moves_by_equal_factors(page, shipped_url, errors):
    page.goto(f"{shipped_url}/traversal?model=dirvae-guided&start=prior", wait_until="domcontentloaded")
    ready(page)
    slider = slider_of(page, 0)
    shown = page.locator(".row", has=slider).locator("output")

    def share_at(place: str) -> float:
        slider.evaluate(f"e => {{ e.value = {place}; e.oninput(); }}")
        return float(shown.inner_text())

    least, middle, most = (
        share_at(place) for place in ("Number(e.min)", "(Number(e.min) + Number(e.max)) / 2", "Number(e.max)")
    )
    assert 0 < 20 * least < most < 0.2
    assert middle == pytest.approx((least * most) ** 0.5, rel=0.2)  # of four digits
    slider.evaluate("e => e.onchange()")
    page.wait_for_url("**edits=0%3A*")
    assert errors == []


@pytest.mark.long
def test_another_start_and_another_model_are_taken_up(open_page, settled_page, errors):
    page = open_page("/traversal?model=tiny-gvae&start=prior")
    ready(page)
    first = page.locator("#now").evaluate(CANVAS)
    page.get_by_role("radio", name="Malignant").first.click()
    page.wait_for_url("**start=malignant*")
    settled_page(page)
    page.wait_for_timeout(300)
    second = page.locator("#now").evaluate(CANVAS)
    assert second != first
    page.goto(page.url.replace("tiny-gvae", "tiny-dirvae"))
    ready(page)
    assert page.locator("#now").evaluate(CANVAS) != second
    assert errors == []


def test_a_lost_connection_is_reported_and_mended(open_page, page):
    sockets = []
    page.route_web_socket("**/api/live/**", lambda route: sockets.append((route, route.connect_to_server())))
    open_page("/traversal?model=tiny-gvae&start=prior")
    ready(page)
    sockets[0][0].close(code=1012, reason="restart")
    page.get_by_role("status").filter(has_text="trying again").wait_for()
    page.get_by_role("status").filter(has_text="trying again").wait_for(state="hidden")
    assert len(sockets) == 4  # images and facts have a connection each


def test_downloads_are_a_png_and_a_gif(open_page, tmp_path):
    from PIL import Image

    page = open_page("/traversal?model=tiny-gvae&row=3&dimension=1")
    ready(page)
    for label, kind in (("Strip as PNG", "PNG"), ("Walk as GIF", "GIF")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label).first.click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.stem == "tiny-gvae_row-3_z1"
        with Image.open(file) as image:
            assert image.format == kind
            assert json.dumps({key: str(value) for key, value in image.info.items()}).count("clinical use")
