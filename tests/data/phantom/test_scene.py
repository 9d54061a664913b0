"""What surrounds a phantom nodule: drawn from the seed alone, continuous from slice to slice."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.data.phantom.scene import CENTRE, SIZE, Scanner, Scene, Slab, Wall, Waves

SPACING = 0.7
GRID = (np.arange(SIZE) - CENTRE) * SPACING


def scene(seed: int, slab: Slab) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene.draw(Scanner.draw(rng), rng, slab)


@pytest.mark.parametrize("seed", range(4))
def test_an_image_is_the_same_by_seed_and_has_hu_of_a_chest(seed: int):
    slab = Slab.at(np.array([-2.5, 0.0, 2.5]), SPACING, 2.5)
    image = scene(seed, slab).image(slab, wall_offset=12.0)
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == np.float32
    assert image.min() >= -1100
    assert image.max() <= 1500
    np.testing.assert_array_equal(image, scene(seed, slab).image(slab, wall_offset=12.0))
    assert not np.array_equal(image, scene(seed + 10, slab).image(slab, wall_offset=12.0))


def test_a_slice_does_not_depend_on_the_others_rendered_with_it():
    slab = Slab.at(np.array([-2.5, 0.0, 2.5]), SPACING, 2.5)
    whole = scene(1, slab)
    alone = Slab.at(np.array([0.0]), SPACING, 2.5)
    expected = whole.image(slab, wall_offset=12.0)[1]
    np.testing.assert_allclose(whole.image(alone, wall_offset=12.0)[0], expected, atol=0.5)


def test_a_shifted_crop_shows_the_same_scene():
    slab = Slab.at(np.zeros(1), SPACING, 2.5)
    shifted = Slab(slab.z, np.array([[8 * SPACING, 0.0]]), slab.radius, slab.slope, SPACING, 2.5)
    drawn = scene(2, slab)
    here, there = (drawn.image(each, wall_offset=12.0)[0] for each in (slab, shifted))
    # Vessels are drawn in squares around their segments, which differ by a pixel.
    assert np.median(np.abs(here[:, 8:] - there[:, :-8])) < 0.1


def test_waves_have_a_deviation_of_one_and_the_stated_length():
    waves = Waves.draw(np.random.default_rng(0), length_mm=2.0, count=256)
    field = waves.at(GRID * 10, np.zeros((8, 2)), np.arange(8) * 50.0)
    assert field.mean() == pytest.approx(0, abs=0.05)
    assert field.std() == pytest.approx(1, abs=0.05)
    near = waves.at(GRID, np.zeros((2, 2)), np.array([0.0, 0.1]))
    assert np.abs(near[0] - near[1]).max() < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_wall_keeps_its_distance(seed: int):
    wall = Wall.draw(np.random.default_rng(seed))
    x, y, z = np.array([0.0, 6, -6, 0]), np.array([0.0, 0, 3, -6]), np.array([0.0, 2, -2, 0])
    least = np.array([3.0, 1, 1, 2])
    offset = wall.offset_for(x, y, z, least)
    assert (wall.depth(x, y, z, offset)[0] >= least - 1e-3).all()
    assert (wall.depth(x, y, z, offset - 0.1)[0] < least - 1e-3).any()
