"""By what the lesions of a model are compared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lungvae_core.data.outlines import SIZE
from lungvae_core.training import lesion_space
from lungvae_core.training.lesion_space import ABOUT, MOST_DIRECTIONS, LesionSpace, drawn_axes, metric
from lungvae_core.vae.config import PRESETS, Config, override, preset
from lungvae_core.vae.latents import make_latent
from lungvae_core.vae.model import VAE

UNGUIDED = [name for name in PRESETS if not preset(name).objective.guided]


def some_codes(config: Config, count: int = 40) -> np.ndarray:
    latent = make_latent(config.model)
    return np.stack([latent.draw(seed) for seed in range(count)])


def drawn(vae: VAE, codes: np.ndarray) -> np.ndarray:
    """(N, pixels) what codes draw, a pixel weighted by how near the middle it is."""
    across = np.arange(SIZE) - (SIZE - 1) / 2
    weights = np.exp(-(across**2 + across[:, None] ** 2) / (4 * ABOUT**2))
    return (vae.decode_codes(codes) * weights).reshape(len(codes), -1)


@pytest.mark.parametrize("name", UNGUIDED)
def test_distances_are_those_of_what_codes_draw_about_the_middle(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lesion_space, "KEPT", 0.9999)
    torch.manual_seed(0)
    config = override(preset(name), {"width": 4, "dimensions": 12})
    vae = VAE(config.model).eval()
    codes = some_codes(config)
    codes = codes.mean(0) + 0.05 * (codes - codes.mean(0))  # where the decoder is about linear
    axes = drawn_axes(vae, codes)
    assert axes is not None
    points = LesionSpace(config, axes).points(codes)
    expected = drawn(vae, codes)
    between, of_images = (np.linalg.norm(each[:, None] - each, axis=2) for each in (points, expected))
    assert np.abs(between - of_images).max() < 0.06 * of_images.max() + 1e-6


class Blots(nn.Module):
    """A decoder that draws the first dimension in the middle, the second at the border and no other."""

    def forward(self, z: Tensor) -> Tensor:
        images = torch.full((len(z), 1, SIZE, SIZE), 0.5)
        middle, border = torch.zeros(2, SIZE, SIZE)
        middle[28:36, 28:36], border[:8] = 0.1, 0.1
        return images + z[:, 0, None, None, None] * middle + z[:, 1, None, None, None] * border


@pytest.mark.parametrize("dimensions", [6, MOST_DIRECTIONS + 20])
def test_what_is_drawn_at_the_border_does_not_count(dimensions: int) -> None:
    config = override(preset("gvae"), {"width": 4, "dimensions": dimensions, "linear_path": False})
    vae = VAE(config.model).eval()
    vae.decoder = Blots()
    codes = np.random.default_rng(0).standard_normal((2000, dimensions)).astype(np.float32)
    codes[:, 10:] *= 0.3
    space = LesionSpace(config, drawn_axes(vae, codes))
    near, inside, border, unseen = np.zeros((4, dimensions), np.float32)
    inside[0], border[1], unseen[2] = 1, 1, 1
    origin, *others = space.points(np.stack([near, inside, border, unseen]))
    distances = [float(np.linalg.norm(other - origin)) for other in others]
    images = drawn(vae, np.stack([near, inside]))
    assert distances[0] == pytest.approx(np.linalg.norm(images[1] - images[0]), rel=0.05)
    assert max(distances[1:]) < 0.05 * distances[0]


def test_threads_get_what_one_alone_gets() -> None:
    config = override(preset("gvae"), {"width": 4, "dimensions": 12})
    torch.manual_seed(0)
    vaes, codes = [VAE(config.model).eval() for _ in range(8)], some_codes(config)
    alone = [drawn_axes(vae, codes) for vae in vaes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda vae: drawn_axes(vae, codes), vaes))
    for one, other in zip(alone, together, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_codes_that_draw_nothing_are_compared_as_they_are(name: str) -> None:
    config = override(preset(name), {"width": 4, "dimensions": 6, "linear_path": False})
    vae = VAE(config.model).eval()
    codes = some_codes(config)
    for module in vae.decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.zeros_(module.weight)
    assert drawn_axes(vae, codes) is None
    np.testing.assert_array_equal(LesionSpace(config).points(codes), config.model.family.features(codes))


def test_lesions_of_a_guided_model_are_compared_by_its_guided_dimensions() -> None:
    guided = {"guided": ("diameter", "malignancy"), "dimensions": 6}
    for name in ("gvae", "dirvae"):
        config = override(preset(name), guided)
        codes = some_codes(config, 3)
        points = LesionSpace(config).points(codes)
        assert points.shape == (3, 2)
        other = np.concatenate((codes[:, :2], codes[:, :1:-1]), 1)  # the free ones in another order
        np.testing.assert_allclose(LesionSpace(config).points(other), points, rtol=1e-5)
        assert "diameter, malignancy" in metric(config)
        assert "the middle" in metric(preset(name))
