"""The family of docs/guides/latent-family.md: its moments and gradients, and that a training takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.training.encode import encode
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.latents import FAMILIES
from tests.vae.von_mises_fisher import VonMisesFisher, VonMisesFisherLatent

NAME = "von-mises-fisher"


@pytest.mark.parametrize("length", [0.5, 5.0, 60.0])
def test_draws_have_the_moments_of_the_distribution(length: float) -> None:
    natural = torch.tensor([[2.0, -1.0, 0.5, 0.0, 3.0]])
    posterior = VonMisesFisher(natural * length / natural.norm())
    torch.manual_seed(0)
    z = posterior.rsample((20_000,))[:, 0]
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z)))
    error = 5 * z.std(0) / len(z) ** 0.5
    assert ((z.mean(0) - posterior.mean[0]).abs() < error).all()
    torch.testing.assert_close(z.var(0), posterior.variance[0], rtol=0.06, atol=1e-4)


def test_the_gradient_of_draws_is_that_of_the_mean() -> None:
    natural = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    weights = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(lambda at: (VonMisesFisher(at).mean * weights).sum(), natural)
    count = 20_000
    raw = natural.expand(count, 4).clone().requires_grad_()
    torch.manual_seed(0)
    (VonMisesFisher(raw).rsample() * weights).sum().backward()
    assert raw.grad is not None
    error = 5 * raw.grad.std(0) / count**0.5 + 1e-3
    assert ((raw.grad.mean(0) - exact).abs() < error).all()


def test_a_training_takes_the_family(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setitem(FAMILIES, NAME, VonMisesFisherLatent)
    config = override(preset("gvae"), {"prior": NAME, "dimensions": 8, "width": 4, "epochs": 1})
    run, _ = fit(config, SliceSet.open(tiny_data), tmp_path / "run", device="cpu")
    encode(run, SliceSet.open(tiny_data))
    codes = run.latents()[1]
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)
    assert np.isfinite(run.load_model().decode_codes(codes[:4])).all()
    assert run.metrics()[-1]["validation"]["kl"] > 0
