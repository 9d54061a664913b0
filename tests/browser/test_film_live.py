"""A film of generated images in a browser: it plays, is scrubbed by hand and keys, and can be taken away."""

from __future__ import annotations

import io

import pytest
from PIL import Image

pytestmark = pytest.mark.long


@pytest.fixture
def film(page, shipped_url, settled_page):
    page.goto(
        f"{shipped_url}/traversal?model=gvae&row=500&way=between&b_row=40", wait_until="domcontentloaded"
    )
    page.locator(".film").wait_for(timeout=90_000)
    settled_page(page)
    assert page.locator(".film").get_attribute("data-frame") is None  # below the fold: nobody asks for it
    page.locator(".film").scroll_into_view_if_needed()
    page.locator(".film[data-frame]").wait_for()
    return page


def picture(page):
    """The frame's 64x64 pixels."""
    return page.locator(".film canvas.now").evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, 64, 64).data).filter((_, at) => at % 4 === 0)"
    )


def frame(page):
    return int(page.locator(".film").get_attribute("data-frame"))


def test_it_plays_until_it_is_stopped(film, errors):
    first = picture(film)
    film.locator(".film .play").click()
    film.wait_for_function(
        "film => Number(film.dataset.frame) >= 3", arg=film.locator(".film").element_handle()
    )
    film.locator(".film .play").click()
    at = frame(film)
    assert picture(film) != first
    film.wait_for_timeout(400)
    assert frame(film) == at
    assert errors == []


def test_keys_and_slider_scrub(film):
    box = film.locator(".film")
    box.press("End")
    last = frame(film)
    assert last == int(film.locator(".film input[type=range]").get_attribute("max"))
    end = picture(film)
    box.press("Home")
    assert frame(film) == 0
    assert picture(film) != end
    box.press("ArrowRight")
    assert frame(film) == 1
    film.locator(".film input[type=range]").fill(str(last))
    assert picture(film) == end


@pytest.mark.parametrize(
    ("label", "begins"), [("Strip as PNG", b"\x89PNG"), ("Film as GIF", b"GIF8"), ("Film as MP4", b"ftyp")]
)
def test_it_is_taken_away_as_a_file(film, label, begins):
    with film.expect_download(timeout=60_000) as download:
        film.get_by_role("button", name=label).first.click()
    content = download.value.path().read_bytes()
    assert begins in content[:12]
    if label == "Film as GIF":
        assert Image.open(io.BytesIO(content)).n_frames > 10
