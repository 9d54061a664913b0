"""Small networks that predict the guides' ratings from an image, by which guided steps are trained.

They learn once, before the VAE begins, the normal scores of the guides of training patients. Then a step
along a guide that is a rating must change the prediction by as much, in its own standard deviations. With
`rating_dimensions` it is part of the encoder too (`vae.networks.ReadingEncoder`). It is stored in the run, so
that a resumed training uses the same one. The judge of a finished model (`explore.measured`) is another
network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lungvae_core.training.checkpoints import READER, Run
from lungvae_core.training.cnn import CnnConfig, Watch, fit_network, squared_error
from lungvae_core.training.weights_file import load_network, save_tensors
from lungvae_core.vae.config import Config
from lungvae_core.vae.lesion import KINDS
from lungvae_core.vae.networks import READER_WIDTH, SMOOTHING, RatingReader, normalise, smoothed

_EPOCHS = 10
_MOST = 2.0  # normal scores: how far a step goes
_SHIFT = 3  # pixels: how far a view is moved
_SMOOTHER = 1.2  # pixels: how much smoother than by SMOOTHING a view is
MIDDLE = 32  # pixels: the side of the part of a slice whose detail is compared, where the lesion lies
_OCTAVES = ((1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1))  # cycles per pixel; the first is no fine detail
_FREE = 1.5  # times: a growth in fine detail that costs nothing
_FLOOR = 2e-3  # of the window: detail below this standard deviation is not seen


def reads_ratings(config: Config) -> bool:
    """Whether a training needs a reader."""
    return bool(config.model.rating_dimensions or config.objective.guided_ratings) and bool(
        rated(config.objective.guided)
    )


def rated(names: tuple[str, ...]) -> list[int]:
    """The indices of the guides that are ratings."""
    return [at for at, name in enumerate(names) if name not in KINDS]


@torch.no_grad()
def fit_reader(run: Run, hu: np.ndarray, scores: np.ndarray, watch: Watch) -> None:
    """Fit and store it: slices hu (N, 64, 64) in HU, the guides' normal scores (N, G), NaN where unknown.

    Its networks learn all guides, since the measured ones help them with the ratings, and keep the ratings.
    """
    has, model, places = np.isfinite(scores).any(1), run.config.model, rated(run.config.objective.guided)
    config = CnnConfig(
        width=READER_WIDTH,
        epochs=_EPOCHS,
        hu_low=model.hu_low,
        hu_high=model.hu_high,
        smoothing_px=SMOOTHING,
    )
    count = model.rating_networks
    reader = RatingReader(len(places), count)
    for number, network in enumerate(reader.networks):
        with torch.enable_grad():
            fitted = fit_network(
                hu[has],
                scores[has],
                squared_error,
                seed=run.config.training.seed + number,
                config=config,
                watch=lambda share, number=number: watch((number + share) / count),  # type: ignore[misc]
            )
        last = fitted.head[-1]
        assert isinstance(last, torch.nn.Linear)
        network.load_state_dict(
            {**fitted.state_dict(), "head.5.weight": last.weight[places], "head.5.bias": last.bias[places]}
        )
    x = normalise(torch.tensor(hu[has]), model)[:, None]
    read = torch.cat([reader(part) for part in x.split(256)])
    reader.mean.copy_(read.mean(0))
    reader.deviation.copy_(read.std(0).clamp(min=1e-3))
    save_tensors(run.folder / READER, reader.state_dict(), {})


def load_reader(run: Run, device: torch.device) -> RatingReader:
    """The run's stored reader; UserError if it is missing or damaged."""
    count = len(rated(run.config.objective.guided))
    networks = run.config.model.rating_networks
    return load_network(run.folder / READER, lambda _: RatingReader(count, networks)).to(device)


def draw_rated_steps(names: tuple[str, ...], drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of N slices a guide that is a rating, from numbers drawn (2, N), uniform in 0..1.

    (N,) its place among the ratings, (N,) among the guides, and (N,) by how much its coordinate moves.
    """
    places = torch.tensor(rated(names), device=drawn.device)
    rating = (drawn[0] * len(places)).long().clamp(max=len(places) - 1)
    return rating, places[rating], (2 * drawn[1] - 1) * _MOST


def rating_losses(change: Tensor, rating: Tensor, size: Tensor, weight: float) -> Tensor:
    """(N,) nats: how far changes (N, R) of predicted ratings lag behind steps `size` (N,) along `rating`.

    A step without effect costs `weight` on average.
    """
    own = change.gather(1, rating[:, None])[:, 0]
    return weight * (own - size).square() / (_MOST**2 / 3)


def draw_view(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A random view of images (N, 1, 64, 64): turned, mirrored, moved by whole pixels, smoothed further.

    A network that always sees images in one way rewards patterns that fit its own pixels.
    """
    turns, mirrored = (int(torch.randint(most, (), generator=generator)) for most in (4, 2))
    down, right = (int(torch.randint(2 * _SHIFT + 1, (), generator=generator)) for _ in range(2))
    smoothing = _SMOOTHER * float(torch.rand((), generator=generator))

    def view(x: Tensor) -> Tensor:
        x = torch.rot90(x.flip(3) if mirrored else x, turns, (2, 3))
        height, width = x.shape[2:]
        x = F.pad(x, (_SHIFT,) * 4, "reflect")[:, :, down : down + height, right : right + width]
        return smoothed(x, smoothing) if smoothing > 0.1 else x

    return view


def detail_losses(before: Tensor, after: Tensor, weight: float) -> Tensor:
    """(N,) nats: how much finer the middle of images (N, 1, 64, 64) has become than before a step.

    The squared logarithm of the growth in power beyond a factor of 1.5, mean over two octaves: e times as
    much costs `weight`. Power is relative to that of coarser detail, which grows as well where a lesion
    becomes brighter. Networks for ratings respond to patterns of single pixels, which no slice has and no eye
    reads.
    """
    grown = (_detail(after) / _detail(before) / _FREE).log().clamp(min=0)
    return weight * grown.square().mean(1)


def _detail(x: Tensor) -> Tensor:
    """(N, 2) power of the middle of images (N, 1, 64, 64) in the finer octaves over that in the first."""
    power = middle_power(x[:, 0], _OCTAVES) + _FLOOR**2 * MIDDLE**2
    return power[:, 1:] / power[:, :1]


def middle_power(x: Tensor, bands: tuple[tuple[float, float], ...]) -> Tensor:
    """(N, B) Hann-windowed power of the middle of images (N, 64, 64), its mean left out, in each band.

    A band is (from, below) in cycles per pixel.
    """
    start = (x.shape[-1] - MIDDLE) // 2
    middle = x[:, start : start + MIDDLE, start : start + MIDDLE].float()
    hann = torch.hann_window(MIDDLE, periodic=False, device=x.device)
    waves = torch.fft.fft2(
        (middle - middle.mean((1, 2), keepdim=True)) * torch.outer(hann, hann), norm="ortho"
    )
    frequency = torch.fft.fftfreq(MIDDLE, device=x.device)
    away = torch.hypot(frequency[:, None], frequency[None])
    inside = torch.stack([(low <= away) & (away < high) for low, high in bands]).float()
    return torch.einsum("nhw,bhw->nb", waves.abs().square(), inside)
