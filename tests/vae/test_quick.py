"""The decoder for images under a moving hand, beside the one in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungvae_core.vae import quick
from lungvae_core.vae.config import PRESETS, override, preset
from lungvae_core.vae.model import VAE

SMALL = {"width": 4, "dimensions": 6}


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that computes in it; others emulate it, which is slower and gives the same."""
    monkeypatch.setattr(quick, "computes_in_bfloat16", lambda: True)


def made(name: str) -> VAE:
    torch.manual_seed(0)
    return VAE(override(preset(name), SMALL).model).eval()


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_it_draws_what_the_decoder_draws(name: str) -> None:
    vae = made(name)
    decode = quick.quick_decoder(vae)
    assert decode is not None
    codes = np.stack([vae.latent.draw(seed) for seed in range(100, 107)])
    images = decode(codes)
    assert images.shape == (7, 64, 64)
    assert images.dtype == np.float32
    exact = vae.decode_codes(codes)
    assert np.abs(images - exact).max() < 2 * quick.NEAR
    assert images.min() >= 0
    assert images.max() <= 1
    assert next(vae.decoder.parameters()).dtype == torch.float32  # the model's own stays as it was


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("factor", [1e4, float("nan")])
def test_a_model_that_needs_more_digits_has_none(factor: float) -> None:
    vae = made("gvae")
    with torch.no_grad():
        vae.decoder.stem.weight.mul_(factor)
        vae.decoder.stem.bias.mul_(factor)
        vae.decoder.body[-2].weight.mul_(factor)
    assert quick.quick_decoder(vae) is None


def test_there_is_none_where_it_would_not_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "computes_in_bfloat16", lambda: False)
    assert quick.quick_decoder(made("gvae")) is None
