"""Encoders and decoders: linear paths, batch norms of any batch, the reader of ratings."""

from __future__ import annotations

import copy

import pytest
import torch

from lungvae_core.vae.config import override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import (
    BatchNorm1d,
    BatchNorm2d,
    RatingReader,
    decoder_column_norms,
    normalise,
    parameter_count,
    still_statistics,
)

SMALL = {"width": 4, "dimensions": 6}
LINEAR = {"linear_path": True}


@pytest.mark.parametrize("rank", [0, 2])
def test_a_linear_path_adds_to_means_and_logits(rank: int) -> None:
    torch.manual_seed(0)
    config = override(preset("gvae"), {**SMALL, **LINEAR, "linear_rank": rank})
    vae = VAE(config.model).eval()
    x, z = torch.rand(3, 1, 64, 64), torch.randn(3, 6)
    with torch.no_grad():
        raw, without = vae.encoder(x), vae.encoder.network(x)
        torch.testing.assert_close(raw[:, :6], without[:, :6] + vae.encoder.path(x.flatten(1)))
        torch.testing.assert_close(raw[:, 6:], without[:, 6:])  # the scales are the convolutions' alone
        start = vae.reconstruct(z)
        torch.testing.assert_close(start, torch.sigmoid(vae.decoder.network(z)))  # it begins at 0
        last = vae.decoder.path[-1] if rank else vae.decoder.path
        last.weight.normal_(std=0.1)
        added = torch.logit(vae.reconstruct(z)) - torch.logit(start)
        torch.testing.assert_close(added.flatten(1), vae.decoder.path(z), atol=1e-3, rtol=1e-3)


def test_columns_that_only_the_linear_path_uses_are_not_dead() -> None:
    vae = VAE(override(preset("gvae"), {**SMALL, **LINEAR, "linear_rank": 2}).model)
    with torch.no_grad():
        vae.decoder.network.stem.weight[:, :2] = 0
        vae.decoder.path[0].weight[:, 0] = 0
        vae.decoder.path[-1].weight.normal_()
    norms = decoder_column_norms(vae.decoder)
    assert norms[0] == 0
    assert norms[1] > 0.1


def test_still_statistics_normalise_by_the_batch_and_keep_nothing() -> None:
    norm = BatchNorm2d(3)
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    running = norm.running_mean.clone(), norm.running_var.clone()
    with still_statistics(torch.nn.Sequential(norm)):
        y = norm(x)
    assert y.mean((0, 2, 3)).abs().max() < 1e-5
    assert torch.equal(norm.running_mean, running[0])
    assert torch.equal(norm.running_var, running[1])
    norm(x)
    assert not torch.equal(norm.running_mean, running[0])


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(BatchNorm2d(5), (6, 5, 4, 3)), (BatchNorm1d(5, momentum=0.9), (6, 5)), (BatchNorm2d(5), (1, 5, 2, 2))],
)
def test_a_shared_batch_norm_is_torchs_own(norm: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """By the sums over processes, which are those of one here; output, gradients and running statistics."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(5, generator=generator))
        norm.bias.copy_(torch.rand(5, generator=generator))
    norm.train()
    x = 3 * torch.randn(shape, generator=generator) + 10
    weights = torch.randn(shape, generator=generator)
    found = []
    for forward in (lambda m, x: m._global(x), torch.nn.modules.batchnorm._BatchNorm.forward):
        module, leaf = copy.deepcopy(norm), x.clone().requires_grad_()
        y = forward(module, leaf)
        (y * weights).sum().backward()
        found.append((y.detach(), leaf.grad, module.weight.grad, module.bias.grad, *module.buffers()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_shared_batch_norm_of_one_value_uses_its_running_statistics() -> None:
    norm = BatchNorm1d(3).train()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    x = torch.tensor([[2.0, 4.0, 6.0]])
    torch.testing.assert_close(norm._global(x), (x - 2) / (4 + norm.eps) ** 0.5)
    torch.testing.assert_close(norm._global(x), norm(x))
    assert float(norm.running_mean[0]) == 2.0


def test_images_become_numbers_within_the_window() -> None:
    config = override(preset("gvae"), {"hu_low": -1000, "hu_high": 1000}).model
    hu = torch.tensor([-3000, -1000, 0, 500, 1000, 3000], dtype=torch.int16)
    assert normalise(hu, config).tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_trainable_parameters_alone_are_counted() -> None:
    layer = torch.nn.Linear(3, 2)
    assert parameter_count(layer) == 8
    layer.bias.requires_grad_(False)
    assert parameter_count(layer) == 6


def test_a_decoder_without_weights_has_no_columns() -> None:
    with pytest.raises(TypeError, match="no linear or convolutional layer"):
        decoder_column_norms(torch.nn.Sequential(torch.nn.Sigmoid()))


def test_a_reader_of_ratings_does_not_depend_on_mirrors() -> None:
    torch.manual_seed(0)
    reader = RatingReader(2, networks=2)
    reader.mean.fill_(3.0)
    x = 20 * torch.linspace(0, 1, 64).pow(3).expand(2, 1, 64, 64)  # dark on the left
    ratings = reader(x)
    assert ratings.shape == (2, 2)
    torch.testing.assert_close(reader(x.flip(3)), ratings)
    torch.testing.assert_close(torch.stack([reader(x, only=0), reader(x, only=1)]).mean(0), ratings)
    reader.train()  # it reads the image alone, and stays fixed
    assert not torch.allclose(reader(x.flip(3)), reader(x))
    assert not any(module.training for network in reader.networks for module in network.modules())
