"""Strips and GIFs of traversals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lungvae_core.serving.walks.render import (
    GENERATED,
    Sheet,
    Walk,
    gif,
    mp4,
    sheet_png,
    strip_png,
)


@pytest.fixture
def walk() -> Walk:
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 1, (5, 64, 64)).astype(np.float32)
    return Walk(
        title="Tiny",
        start="the prior mean",
        dimension=3,
        values=np.linspace(-2, 2, 5),
        images=images,
        at_start=images[2],
        window=(-1000.0, 400.0),
        scores=np.linspace(0.1, 0.9, 5),
    )


def test_strip_holds_each_image_and_says_what_it_is(walk):
    picture = Image.open(io.BytesIO(strip_png(walk, side=128)))
    assert picture.size[0] == 5 * 132
    assert picture.info["Disclaimer"] == GENERATED
    assert "LIDC-IDRI" in picture.info["Source"]
    assert "dimension 3" in picture.info["Description"]
    pixels = np.asarray(picture)
    tile = pixels[34 + 64 : 34 + 128, 2:130]  # the lower half, below the word "generated"
    np.testing.assert_array_equal(tile[::2, ::2, 0], np.rint(walk.images[0][32:] * 255).astype(np.uint8))
    assert (tile[..., 0] == tile[..., 2]).all()  # CT is grey
    assert (pixels[-26:-6, :300] > 150).any()  # the notice, burned in


def test_strip_without_scores_is_shorter(walk):
    with_scores = Image.open(io.BytesIO(strip_png(walk)))
    without = Image.open(io.BytesIO(strip_png(Walk(**{**vars(walk), "scores": None}))))
    assert without.size[1] < with_scores.size[1]


def test_gif_goes_there_and_back_with_the_notice_in_every_frame(walk):
    picture = Image.open(io.BytesIO(gif(walk)))
    assert picture.n_frames == 8
    assert picture.info["loop"] == 0
    assert GENERATED in picture.info["comment"].decode()
    for number in range(picture.n_frames):
        picture.seek(number)
        frame = np.asarray(picture.convert("L"))
        assert (frame[-40:, 12:250] > 150).any()


def test_mp4_goes_there_and_back_twice_with_the_notice_burned_in(walk):
    import av

    with av.open(io.BytesIO(mp4(walk))) as container:
        assert GENERATED in container.metadata["comment"]
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 2 * 8
    for frame in frames:
        assert (frame[-40:, 12:250] > 150).any()
    assert np.abs(frames[0].astype(int) - frames[8]).mean() < 3  # it comes back to where it began
    assert np.abs(frames[0].astype(int) - frames[4]).mean() > 3


def test_a_sheet_has_each_tile_at_its_place_and_the_notice():
    images = np.random.default_rng(0).uniform(0, 1, (2, 3, 64, 64)).astype(np.float32)
    made = sheet_png(
        Sheet("Two by three", images, ("z 1 · grows", "z 2"), ("a", "b", "c")), side=64, margin=100
    )
    picture = Image.open(io.BytesIO(made))
    assert picture.info["Disclaimer"] == GENERATED
    pixels = np.asarray(picture)[..., 0]
    tile = pixels[34 + 68 : 34 + 68 + 64, 100 + 2 * 68 : 100 + 2 * 68 + 64]
    np.testing.assert_array_equal(tile, np.rint(images[1, 2] * 255).astype(np.uint8))
    assert (pixels[-26:-6, :300] > 150).any()
