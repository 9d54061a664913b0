"""The Predict page in a real browser: uploads, the box on the lesion, neighbours."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.fixture
def upload(open_page):
    """upload(name, content) opens the page and gives it a file."""

    def go(name, content):
        page = open_page("/predict?model=tiny-gvae&source=upload")
        page.get_by_test_id("stFileUploader").wait_for()
        page.set_input_files(
            "input[type=file]", {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )
        return page

    return go


def test_a_lesion_of_the_set_is_shown_with_neighbours_and_its_place(open_page, settled_page, errors):
    page = open_page("/predict?model=tiny-gvae&row=12")
    page.get_by_text("Model score (0 to 1").first.wait_for()
    page.locator(".cards[data-count='8']").wait_for()
    page.locator(".map[data-painted='120']").wait_for()
    settled_page(page)
    assert page.get_by_text("Not for clinical use").first.is_visible()
    assert errors == []


def test_a_neighbour_that_is_clicked_becomes_the_lesion(open_page, settled_page):
    page = open_page("/predict?model=tiny-gvae&row=12")
    card = page.locator(".cards button").first
    row = card.get_attribute("data-row")
    settled_page(page)
    card.click()
    page.wait_for_url(re.compile(rf"[?&]row={row}\b"))
    page.locator(".map[data-painted='120']").wait_for()


def test_a_64_pixel_array_gets_a_score(upload, tiny_data, errors):
    page = upload("mine.npy", npy(np.load(tiny_data / "slices.npy")[30]))
    page.get_by_text("Model score (0 to 1").first.wait_for()
    page.get_by_text("generated", exact=True).first.wait_for()
    page.locator(".map[data-painted='120']").wait_for()
    page.get_by_text("the diamond lies among its ten nearest slices").wait_for()
    assert errors == []


def test_a_click_on_a_large_image_places_the_box(upload, settled_page, errors):
    image = np.full((256, 320), -800, np.int16)
    image[90:110, 140:160] = 30
    page = upload("mine.npy", npy(image))
    picture = page.locator(".position")
    picture.wait_for()
    settled_page(page)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(320 / 256, rel=0.02)
    assert page.get_by_text("Model score (0 to 1").count() == 0
    x, y = box["x"] + box["width"] * 150 / 320, box["y"] + box["height"] * 100 / 256
    page.mouse.click(x, y)
    page.get_by_text("Model score (0 to 1").first.wait_for()
    row, column = (page.get_by_label(f"{name} of the lesion").first for name in ("Row", "Column"))
    assert abs(int(row.input_value()) - 100) <= 1
    assert abs(int(column.input_value()) - 150) <= 1
    assert picture.locator(".box").is_visible()
    before = int(row.input_value())
    picture.press("ArrowDown")
    page.wait_for_function(
        "([label, value]) => document.querySelector(`input[aria-label='${label}']`).value === value",
        arg=["Row of the lesion", str(before + 1)],
    )
    assert errors == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.pdf", b"%PDF-1.7", "is of no kind that is read here"),
        ("mine.npy", b"garbage", "is not a readable npy array"),
        ("mine.dcm", b"x" * 500, "is not a DICOM file"),
        ("mine.npy", npy(np.zeros((40, 40), np.int16)), "at least 64x64 are needed"),
    ],
    ids=["pdf", "damaged", "no dicom", "small"],
)
def test_a_wrong_upload_gets_a_sentence(upload, settled_page, errors, name, content, says):
    page = upload(name, content)
    page.get_by_text(says).wait_for()
    settled_page(page)
    assert page.get_by_text("Traceback").count() == 0
    assert page.get_by_text("Model score (0 to 1").count() == 0
    assert errors == []


def test_an_upload_can_be_walked_from(upload, tiny_data):
    page = upload("mine.npy", npy(np.load(tiny_data / "slices.npy")[30]))
    page.get_by_role("button", name="Walk from this lesion").click()
    page.get_by_role("heading", name="Traversal").wait_for()
