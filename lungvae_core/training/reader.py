"""Small networks that predict the guides' ratings from an image, by which guided steps are trained.

They learn once, before the VAE begins, the normal scores of the guides of training patients. Then a step
along a guide that is a rating must change the prediction by as much, in its own standard deviations. With
`rating_dimensions` it is part of the encoder too (`vae.networks.ReadingEncoder`). It is stored in the run, so
that a resumed training uses the same one. The judge of a finished model (`explore.measured`) is another
network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lungvae_core.training.checkpoints import READER, Run
from lungvae_core.training.cnn import CnnConfig, Watch, fit_network, squared_error
from lungvae_core.training.weights_file import load_network, save_tensors
from lungvae_core.vae.config import Config
from lungvae_core.vae.lesion import KINDS
from lungvae_core.vae.networks import READER_WIDTH, SMOOTHING, RatingReader, normalise

_EPOCHS = 10
_MOST = 2.0  # normal scores: how far a step goes


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
