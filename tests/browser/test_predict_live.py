"""The Predict page in a real browser: uploads, the box on the lesion, neighbours."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from tests.made_series import MIDDLE, dicom, lesion, zipped

pytestmark = pytest.mark.long


_SMALL = tuple(slice(at - 20, at + 20) for at in MIDDLE[1:])  # 40 pixels around the lesion


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
    page.get_by_test_id("stMetric").first.wait_for()
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
    page.get_by_test_id("stMetric").first.wait_for()
    page.get_by_text("generated", exact=True).first.wait_for()
    page.locator(".map[data-painted='120']").wait_for()
    page.get_by_text("the diamond lies among its ten nearest slices").wait_for()
    assert errors == []


def test_a_series_goes_from_its_files_to_a_nodules_score(upload, settled_page, errors):
    """Scroll, click, outline, a driving slice: with DICOM files in a zip, on a laptop's screen."""
    hu, mask = lesion()
    page = upload("series.zip", zipped({f"a/IM{n}": content for n, content in enumerate(dicom(hu))}))
    frame = page.locator(".frame")
    page.locator(".frame[data-shown='6']").wait_for()
    settled_page(page)
    assert page.get_by_test_id("stMetric").count() == 0
    box = frame.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(160 / 128, rel=0.02)
    assert box["y"] + box["height"] < 768
    assert page.locator(".window").first.inner_text() == "W 1500 L -600 HU"
    assert "mm" in page.locator(".scale").inner_text()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, 100)
    page.locator(".frame[data-shown='7']").wait_for()
    frame.press("PageUp")
    page.locator(".frame[data-shown='6']").wait_for()
    page.get_by_role("button", name="Bone").click()
    assert page.locator(".window").first.inner_text() == "W 2500 L 480 HU"
    settled_page(page)
    scale = box["width"] / 160
    page.mouse.click(box["x"] + scale * (MIDDLE[2] + 0.5), box["y"] + scale * (MIDDLE[1] + 0.5))
    page.get_by_test_id("stMetric").first.wait_for()
    page.get_by_text("generated", exact=True).first.wait_for()
    assert page.get_by_test_id("stMetric").first.bounding_box()["y"] < 768
    settled_page(page)
    page.get_by_role("button", name="Outline it").click()
    page.get_by_text("It was found automatically").wait_for()
    page.locator(".frame[data-outlined='1']").wait_for()
    page.get_by_text("Nodule score").first.wait_for()
    settled_page(page)
    # A bar is clicked: the viewer shows its slice.
    bar = page.locator(".js-plotly-plot .point").first
    bar.scroll_into_view_if_needed()
    place = bar.bounding_box()
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    first = int(np.flatnonzero(mask.any((1, 2)))[0])
    near = (f".frame[data-shown='{number}']" for number in (first - 1, first, first + 1))
    page.locator(", ".join(near)).wait_for()
    assert errors == []


def test_the_viewers_box_and_window_follow_keys_and_drags(upload, settled_page, errors):
    page = upload("mine.npy", npy(lesion()[0][6]))
    frame = page.locator(".frame")
    page.locator(".frame[data-shown='0']").wait_for()
    settled_page(page)
    box = frame.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_test_id("stMetric").first.wait_for()
    settled_page(page)
    before = page.locator("figure.lesion img").first.get_attribute("src")
    frame.press("ArrowDown")
    page.wait_for_function("before => document.querySelector('figure.lesion img').src !== before", arg=before)
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 60)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.locator(".width").input_value() == "1800"
    assert page.locator(".level").input_value() == "-450"
    viewer = page.locator(".viewer")
    viewer.get_by_label("Zoom in").click()
    viewer.get_by_label("Zoom out").click()  # it waits until it can be
    assert errors == []


def test_files_that_are_taken_away_are_forgotten(upload, settled_page, tiny_data):
    page = upload("mine.npy", npy(np.load(tiny_data / "slices.npy")[30]))
    page.get_by_test_id("stMetric").first.wait_for()
    settled_page(page)
    page.get_by_text("mine.npy: change").click()
    page.get_by_label("Remove mine.npy").first.click()
    page.locator(".viewer").wait_for(state="detached")


@pytest.mark.lidc
def test_a_real_series_gets_a_nodules_score(upload, settled_page, errors, lidc):
    files = {path.name: path.read_bytes() for path in sorted((lidc / "dicom").glob("*.dcm"))}
    page = upload("series.zip", zipped(files))
    frame = page.locator(".frame")
    frame.and_(page.locator("[data-shown]")).wait_for()
    settled_page(page)
    box = frame.bounding_box()
    page.get_by_label("Slice", exact=True).fill("82")
    page.locator(".frame[data-shown='82']").wait_for()
    settled_page(page)
    page.mouse.click(box["x"] + box["width"] * 319 / 512, box["y"] + box["height"] * 232.5 / 512)
    page.get_by_test_id("stMetric").first.wait_for()
    settled_page(page)
    page.get_by_role("button", name="Outline it").click()
    page.get_by_text("Nodule score").first.wait_for()
    page.locator(".frame[data-outlined='1']").wait_for()
    page.get_by_text("Outlined in slices 79 to 88").wait_for()
    assert errors == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.pdf", b"%PDF-1.7", "is of no kind that is read here"),
        ("mine.npy", b"garbage", "is not a readable npy array"),
        ("mine.dcm", b"x" * 500, "is not a DICOM file"),
        ("mine.npy", npy(lesion()[0][6][_SMALL]), "at least 64x64 are needed"),
    ],
    ids=["pdf", "damaged", "no dicom", "small"],
)
def test_a_wrong_upload_gets_a_sentence(upload, settled_page, errors, name, content, says):
    page = upload(name, content)
    page.get_by_text(says).wait_for()
    settled_page(page)
    assert page.get_by_text("Traceback").count() == 0
    assert page.get_by_test_id("stMetric").count() == 0
    assert errors == []


def test_an_upload_can_be_walked_from(upload, tiny_data):
    page = upload("mine.npy", npy(np.load(tiny_data / "slices.npy")[30]))
    page.get_by_role("button", name="Walk from this lesion").click()
    page.get_by_role("heading", name="Traversal").wait_for()
