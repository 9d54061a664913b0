"""A discriminator learns to tell slices from blurred ones, and moves a VAE without learning from it."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from lungvae_core.training.adversary import PatchDiscriminator, adversarial_loss, discriminator_loss


def pairs(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (count, 1, 64, 64) in 0..1, and the same blurred."""
    noise = torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return noise, torch.tensor(gaussian_filter(noise.numpy(), (0, 0, 1, 1)))


def test_it_learns_to_tell_slices_from_blurred_ones() -> None:
    x, y = pairs()
    discriminator = PatchDiscriminator(seed=0)
    assert discriminator(x).shape == (16, 1, 16, 16)
    optimiser = torch.optim.AdamW(discriminator.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = discriminator_loss(discriminator, x, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(2, abs=0.3)  # chance
    assert losses[-1] < 0.5
    assert discriminator(x).mean() > discriminator(y).mean() + 1


def test_the_same_seed_is_the_same_network_and_draws_nothing_from_the_callers_numbers() -> None:
    torch.manual_seed(5)
    first = PatchDiscriminator(seed=1).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert all(
        torch.equal(tensor, first[name]) for name, tensor in PatchDiscriminator(1).state_dict().items()
    )


def test_each_loss_moves_its_own_network_alone() -> None:
    x, y = pairs(4)
    discriminator, drawn = PatchDiscriminator(seed=0), torch.cat((y, y), 1).requires_grad_()
    discriminator_loss(discriminator, x, drawn[:, :1]).backward()
    assert drawn.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())

    discriminator.zero_grad(set_to_none=True)
    loss = 7 * (x - drawn[:, :1]).square().mean()
    pull = torch.autograd.grad(adversarial_loss(discriminator, drawn, loss), drawn, retain_graph=True)[0]
    torch.testing.assert_close(pull.norm(), torch.autograd.grad(loss, drawn)[0].norm())
    assert not pull[:, 1].any()  # the layers are not its business
    assert all(parameter.grad is None and parameter.requires_grad for parameter in discriminator.parameters())
