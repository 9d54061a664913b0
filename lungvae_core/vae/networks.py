"""Encoders and decoders for 64x64 slices: the released architecture of the paper and our lean one.

All take images (N, 1, 64, 64) in 0..1 and give raw latents (N, heads * K), or the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.latents import Latent
from lungvae_core.vae.lesion import KINDS, PER_RATING, LesionDecoder, added_density, new_density
from lungvae_core.vae.sync import processes, total

_SIDE = 64  # pixels
_FEATURES = 64
READER_WIDTH = 16
SMOOTHING = 1.0  # pixels: how smooth a `RatingReader` sees images


class _AnyBatch:
    """A batch norm for any batch, even with one value per channel or spread over several processes.

    With one value per channel it falls back to its running statistics. With several processes its statistics
    are those of the global batch, so that a model does not depend on the number of processes (PyTorch's own
    SyncBatchNorm works on GPUs only), unless each process trains its own network (`shared` is false).
    """

    shared = True

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self, nn.modules.batchnorm._BatchNorm)
        if self.training and self.shared and processes() > 1:
            return self._global(x)
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)  # type: ignore[misc]

    def _global(self, x: Tensor) -> Tensor:
        assert isinstance(self, nn.modules.batchnorm._BatchNorm)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        values = x.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = total(torch.tensor(x.numel() / x.shape[1], device=x.device))
        mean = total(values.sum(axes)) / count
        # Two passes: the mean of squares minus the squared mean would lose digits that one process keeps.
        variance = total((values - mean.view(shape)).square().sum(axes)) / count
        if count > 1:
            with torch.no_grad():
                if momentum := self.momentum:
                    self.num_batches_tracked += 1
                    self.running_mean.lerp_(mean, momentum)
                    self.running_var.lerp_(variance * count / (count - 1), momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return ((values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class BatchNorm1d(_AnyBatch, nn.BatchNorm1d):
    """BatchNorm1d that accepts a batch of one in training."""


class OwnBatchNorm1d(BatchNorm1d):
    """BatchNorm1d of a network that every process trains separately, on the same data."""

    shared = False


class BatchNorm2d(_AnyBatch, nn.BatchNorm2d):
    """BatchNorm2d that accepts a batch of one in training."""


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, batch norms in training mode normalise by their batch and keep their running statistics."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _without_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """`conv` with its bias fixed at 0, for outputs that go only into batch norms, which remove the bias.

    The bias's gradient would be only rounding noise, which Adam scales up to full steps. The bias stays in
    the weights' file, since models of earlier versions have learned one.
    """
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    conv.bias.requires_grad_(False)
    return conv


class Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), same shape; arXiv 1603.05027."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm2d(channels),
            nn.SiLU(),
            _without_bias(nn.Conv2d(channels, channels, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _halved(channels: int, into: int) -> nn.Conv2d:
    return _without_bias(nn.Conv2d(channels, into, 4, stride=2, padding=1))


class LeanEncoder(nn.Module):
    """Strided convolutions with one residual block per scale; no convolution runs at the full 64x64."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        w = width
        layers = [_halved(1, w // 2), BatchNorm2d(w // 2), nn.SiLU()]  # (N, w/2, 32, 32)
        # (N, 2w, 16, 16), (N, 4w, 8, 8) and (N, 4w, 4, 4)
        for channels, into in ((w // 2, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)):
            layers += [_halved(channels, into), Residual(into), BatchNorm2d(into), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())  # (N, 64w)
        self.head = nn.Linear(64 * w, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Regression(nn.Module):
    """Images (N, 1, 64, 64) in 0..1 to `outputs` numbers each, (N, outputs), by a lean encoder and a head.

    `smoothing` (pixels) is the standard deviation of a Gaussian filter on its input, so that it learns
    nothing from noise and ignores faint patterns of single pixels.
    """

    def __init__(self, outputs: int, width: int, *, dropout: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.encoder = LeanEncoder(_FEATURES, width)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(_FEATURES, _FEATURES),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(_FEATURES, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(smoothed(x, self.smoothing) if self.smoothing else x))


def mirrors(x: Tensor) -> tuple[Tensor, ...]:
    """Images (N, 1, H, W), and each of their three mirrors."""
    return x, x.flip(2), x.flip(3), x.flip((2, 3))


def smoothed(x: Tensor, deviation: float) -> Tensor:
    """Images (N, 1, H, W) smoothed by a Gaussian with that deviation in pixels; edges are mirrored."""
    reach = math.ceil(3 * deviation)
    kernel = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device).div(deviation).square()
    kernel = (-kernel / 2).exp()
    kernel = kernel / kernel.sum()
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "reflect"), kernel[None, None, None])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), "reflect"), kernel[None, None, :, None])


class RatingReader(nn.Module):
    """Images (N, 1, 64, 64) in 0..1 of the window to R readers' ratings (N, R), as standard scores.

    It averages `networks` networks, which are trained before the VAE and then fixed. In evaluation it also
    averages over the image and its three mirrors.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, count: int, networks: int = 1) -> None:
        super().__init__()
        self.network, *others = (
            Regression(count, READER_WIDTH, smoothing=SMOOTHING) for _ in range(networks)
        )
        self.others = nn.ModuleList(others)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> RatingReader:
        """Set the mode, but keep its networks out of training mode."""
        super().train(mode)
        for network in self.networks:
            network.eval()
        return self

    @property
    def networks(self) -> list[Regression]:
        """Its networks. The first has a name of its own, as in models that have no others."""
        return [self.network, *cast("Iterable[Regression]", self.others)]

    def forward(self, x: Tensor, only: int | None = None) -> Tensor:
        """Ratings of images `x`, by all networks or by `only` one of them."""
        views = (x,) if self.training else mirrors(x)
        networks = self.networks if only is None else [self.networks[only]]
        read = torch.stack([network(view) for view in views for network in networks]).mean(0)
        return (read - self.mean) / self.deviation


class ReadingEncoder(nn.Module):
    """An encoder that gives its first dimensions as standard scores, whatever the latent family.

    The geometry's dimensions come first, from the encoder's own network, then the ratings, from a
    `RatingReader`. What these add to the density in the decoder is taken off it here.
    """

    per_rating: Tensor | None

    def __init__(
        self, network: nn.Module, reader: RatingReader, latent: Latent, per_rating: Tensor | None
    ) -> None:
        """`per_rating` (R,) is what each rating adds to the density; None: nothing."""
        super().__init__()
        self.network, self.reader, self._latent = network, reader, latent
        self.register_buffer(PER_RATING, per_rating)

    def forward(self, x: Tensor) -> Tensor:
        raw, ratings = self.network(x).float(), self.reader(x).float()
        with torch.autocast(x.device.type, enabled=False):
            measured = raw[:, : len(KINDS)]
            if self.per_rating is not None:
                measured = measured - added_density(torch.cat((measured, ratings), 1), self.per_rating)
            return self._latent.with_scores(raw, torch.cat((measured, ratings), 1))


class _Up(nn.Sequential):
    """Double the side by sub-pixel convolution (arXiv 1609.05158), with all arithmetic at the small side."""

    def __init__(self, channels: int, into: int) -> None:
        super().__init__(
            BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, 4 * into, 3, padding=1),
            nn.PixelShuffle(2),
        )


class LeanDecoder(nn.Module):
    """Mirror of the lean encoder, upsampling by sub-pixel convolutions."""

    def __init__(self, inputs: int, width: int, channels: int = 1) -> None:
        super().__init__()
        w = width
        self.stem = nn.Linear(inputs, 64 * w)
        self.body = nn.Sequential(
            nn.Unflatten(1, (4 * w, 4, 4)),
            Residual(4 * w),
            _Up(4 * w, 4 * w),  # (N, 4w, 8, 8)
            Residual(4 * w),
            _Up(4 * w, 2 * w),  # (N, 2w, 16, 16)
            Residual(2 * w),
            _Up(2 * w, w // 2),  # (N, w/2, 32, 32)
            _Up(w // 2, w // 4),  # (N, w/4, 64, 64)
            nn.SiLU(),
            nn.Conv2d(w // 4, channels, 3, padding=1),  # (N, channels, 64, 64)
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.stem(z))


def _conv(channels: int, into: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, into, kernel, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.GELU(), BatchNorm2d(into))


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), BatchNorm1d(outputs, momentum=0.9), nn.GELU()]


class _ReleasedUp(nn.Module):
    """Bilinear x4, then a 4x4 convolution of stride 2, as released: double the side at 4 times the cost."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels, kernel=4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False))


class ReleasedEncoder(nn.Module):
    """The encoder of the paper's released code; `dense` adds the DirVAE's layer before its head."""

    def __init__(self, outputs: int, dimensions: int, width: int, *, dense: bool) -> None:
        super().__init__()
        b = width
        self.body = nn.Sequential(
            _conv(1, b),  # (N, b, 64, 64)
            _conv(b, 2 * b),
            _conv(2 * b, 2 * b, stride=2),  # (N, 2b, 32, 32)
            _conv(2 * b, 2 * b),
            _conv(2 * b, 4 * b, stride=2),  # (N, 4b, 16, 16)
            _conv(4 * b, 4 * b),
            _conv(4 * b, 4 * b, stride=2),  # (N, 4b, 8, 8)
            nn.Conv2d(4 * b, 32 * b, 8),  # (N, 32b, 1, 1)
            nn.GELU(),
            nn.Flatten(),
        )
        if dense:
            self.body.extend(_dense(32 * b, dimensions))
        self.head = nn.Linear(dimensions if dense else 32 * b, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class ReleasedDecoder(nn.Module):
    """The decoder of the paper's released code; `dense` adds the DirVAE's layer after the code."""

    def __init__(self, dimensions: int, width: int, *, dense: bool) -> None:
        super().__init__()
        b = width
        features = 32 * b if dense else dimensions
        self.body = nn.Sequential(
            *(_dense(dimensions, features) if dense else ()),
            nn.Unflatten(1, (features, 1, 1)),
            nn.Conv2d(features, 32 * b, 1),
            nn.ConvTranspose2d(32 * b, 4 * b, 8, bias=False),  # (N, 4b, 8, 8)
            nn.GELU(),
            BatchNorm2d(4 * b),
            _conv(4 * b, 4 * b),
            _ReleasedUp(4 * b),  # (N, 4b, 16, 16)
            _conv(4 * b, 2 * b),
            _ReleasedUp(2 * b),  # (N, 2b, 32, 32)
            _conv(2 * b, b),
            _ReleasedUp(b),  # (N, b, 64, 64)
            nn.Conv2d(b, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


def _linear(inputs: int, outputs: int, rank: int) -> nn.Module:
    """A linear map, with fewer weights if `rank` is not 0: then it has that rank."""
    if not rank:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def _layers(path: nn.Module) -> list[nn.Linear]:
    return [module for module in path.modules() if isinstance(module, nn.Linear)]


def _matrix(path: nn.Module) -> Tensor:
    """(outputs, inputs) the matrix by which `_linear` multiplies."""
    matrices = [layer.weight.detach() for layer in reversed(_layers(path))]
    return torch.linalg.multi_dot(matrices) if len(matrices) > 1 else matrices[0]


class LinearPathEncoder(nn.Module):
    """An encoder with a parallel linear map of the pixels, added to the first K raw latents.

    These are the means of a Gaussian, or the concentrations of a Dirichlet before the softplus.
    """

    def __init__(self, network: nn.Module, dimensions: int, rank: int) -> None:
        super().__init__()
        self.network = network
        self.path = _linear(_SIDE * _SIDE, dimensions, rank)

    def forward(self, x: Tensor) -> Tensor:
        raw, direct = self.network(x), self.path(x.flatten(1))  # (N, heads * K), (N, K)
        return F.pad(direct, (0, raw.shape[1] - direct.shape[1])) + raw


class LinearPathDecoder(nn.Module):
    """A decoder with a parallel linear map of the code, added to the pixels' logits before the sigmoid.

    The map starts at 0, so that training begins with the convolutions' image.
    """

    def __init__(self, network: LeanDecoder | ReleasedDecoder, dimensions: int, rank: int) -> None:
        super().__init__()
        self.network = _logits(network)
        self.path = _silent(_linear(dimensions, _SIDE * _SIDE, rank))

    def forward(self, z: Tensor) -> Tensor:
        logits = self.network(z)  # (N, 1, 64, 64)
        return torch.sigmoid(logits + self.path(z).view_as(logits))


def _logits(network: LeanDecoder | ReleasedDecoder) -> nn.Module:
    """`network` without the sigmoid at its end."""
    *layers, sigmoid = network.body.children()
    assert isinstance(sigmoid, nn.Sigmoid)
    network.body = nn.Sequential(*layers)
    return network


def _silent(path: nn.Module) -> nn.Module:
    """`path` with its output set to 0 for any input."""
    last = _layers(path)[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return path


def make_networks(config: ModelConfig, latent: Latent) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) for a model's configuration and its latent family."""
    encoder, decoder = _convolutions(config, latent.heads)
    k, rank = config.dimensions, config.linear_rank
    if config.lesion_layer:
        free = k - len(KINDS)
        network = _logits(LeanDecoder(free, config.width, channels=2))
        path = _silent(_linear(free, 2 * _SIDE * _SIDE, rank))
        whole: nn.Module = LinearPathEncoder(encoder, k, rank)
        if config.rating_dimensions:
            whole = ReadingEncoder(
                whole,
                RatingReader(config.rating_dimensions, config.rating_networks),
                latent,
                new_density(config),
            )
        return whole, LesionDecoder(network, path, config, latent)
    if not config.linear_path:
        return encoder, decoder
    return LinearPathEncoder(encoder, k, rank), LinearPathDecoder(decoder, k, rank)


def _convolutions(
    config: ModelConfig, heads: int
) -> tuple[LeanEncoder | ReleasedEncoder, LeanDecoder | ReleasedDecoder]:
    outputs = heads * config.dimensions
    if config.network == "lean":
        return LeanEncoder(outputs, config.width), LeanDecoder(config.dimensions, config.width)
    dense = config.family.simplex
    return (
        ReleasedEncoder(outputs, config.dimensions, config.width, dense=dense),
        ReleasedDecoder(config.dimensions, config.width, dense=dense),
    )


def parameter_count(module: nn.Module) -> int:
    """The number of trainable parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def decoder_column_norms(decoder: nn.Module) -> Tensor:
    """(K,) L2 norm of the decoder's first weights for each dimension; a collapsed one is near 0.

    With a linear path it is the norm of the convolutions' first weights and the path's matrix together.
    """
    if isinstance(decoder, LesionDecoder | LinearPathDecoder):
        norms = torch.hypot(decoder_column_norms(decoder.network), _matrix(decoder.path).norm(dim=0))
        if isinstance(decoder, LinearPathDecoder):
            return norms
        # The geometry's dimensions have no weights and get the norm of the strongest one.
        return torch.cat((norms.max().expand(len(KINDS)), norms))
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            return module.weight.detach().norm(dim=0)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            return module.weight.detach().flatten(2).norm(dim=(0, 2))
    raise TypeError("the decoder has no linear or convolutional layer")


def normalise(hu: Tensor, config: ModelConfig) -> Tensor:
    """HU of any shape to 0..1 within the model's window, float32."""
    low, high = config.hu_low, config.hu_high
    return ((hu.to(torch.float32) - low) / (high - low)).clamp_(0, 1)
