"""The decoder for images under a moving hand, beside the one in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungvae_core.vae import quick
from lungvae_core.vae.config import PRESETS, override, preset
from lungvae_core.vae.model import VAE
from tests.conftest import few_guides

SMALL = {"width": 4, "dimensions": 6}


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that computes in it; others emulate it, which is slower and gives the same."""
    monkeypatch.setattr(quick, "computes_in_bfloat16", lambda: True)


def made(name: str, **changes: object) -> VAE:
    torch.manual_seed(0)
    return VAE(override(preset(name), {**SMALL, **few_guides(name), **changes}).model).eval()


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_it_draws_what_the_decoder_draws(name: str, linear_path: bool) -> None:
    layered = PRESETS[name].model.lesion_layer and linear_path
    vae = made(name, linear_path=linear_path, lesion_layer=layered)
    if linear_path:
        torch.nn.init.normal_(vae.decoder.path.weight, std=0.1)  # as after a training; it starts at 0
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
    vae = made("gvae", linear_path=False)
    with torch.no_grad():
        vae.decoder.stem.weight.mul_(factor)
        vae.decoder.stem.bias.mul_(factor)
        vae.decoder.body[-2].weight.mul_(factor)
    assert quick.quick_decoder(vae) is None


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_without_bfloat16_it_is_the_decoder_itself_in_one_call(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "computes_in_bfloat16", lambda: False)
    vae = made(name)
    decode = quick.quick_decoder(vae)
    assert decode is not None
    for count in (1, 7, 3):
        codes = np.stack([vae.latent.draw(seed) for seed in range(count)])
        np.testing.assert_allclose(decode(codes), vae.decode_codes(codes), atol=1e-6)


def test_a_network_that_cannot_be_traced_is_called_as_it_is() -> None:
    class Picky(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.is_leaf and torch.jit.is_tracing():
                raise RuntimeError("not for tracing")
            return 2 * x

    network = Picky()
    assert quick.one_call(network, torch.zeros(2, 3)) is network


def test_there_is_none_on_a_gpu() -> None:
    assert quick.quick_decoder(made("gvae").to("meta")) is None
