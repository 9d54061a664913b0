"""The whole range of one dimension as a picture, made when a browser asks for it.

GET /api/models/{name}/strips/{key}.png   PNG: one column per step, see `render.strip_png`

A page passes the traversal to `offer` and gets the key. Drawing takes longer than the rest of the page, so
the page does not wait for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from starlette.responses import Response
from starlette.routing import BaseRoute

from lungvae_core.serving.models.answers import BASE, Offers, respond
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.walks.render import Walk, strip_png

MOST_OFFERED_BYTES = 8 * 2**20  # of strips of one model that may be requested; each takes a few kilobytes


@dataclass(frozen=True)
class Strip:
    """One dimension of one model through its range, before decoding."""

    start: str  # the start of the walk, in words
    dimension: int
    values: np.ndarray  # (T,) of the dimension
    codes: np.ndarray  # (T, K)
    at_start: np.ndarray  # (K,) the code of the start
    patient: str | None  # of the data set, whose lesion is the start

    def walk(self, model: LoadedModel, *, difference_full: float) -> Walk:
        """The strip decoded and scored."""
        images = model.decode(np.concatenate([self.codes, self.at_start[None]]))
        return Walk(
            title=model.entry.title,
            start=self.start,
            dimension=self.dimension,
            values=self.values,
            images=images[:-1],
            at_start=images[-1],
            window=model.window,
            scores=model.score(self.codes, patient=self.patient),
            difference_full=difference_full,
        )


_offers: Offers[tuple[Strip, float]] = Offers(MOST_OFFERED_BYTES)


def offer(model: LoadedModel, strip: Strip, *, difference_full: float) -> str:
    """The address at which browsers may request a strip's picture."""
    digest = hashlib.sha256(repr((strip.start, strip.dimension, strip.patient, difference_full)).encode())
    for numbers in (strip.values, strip.codes, strip.at_start):
        digest.update(np.ascontiguousarray(numbers, np.float32).tobytes())
    key = digest.hexdigest()
    _offers.put(model, key, (strip, difference_full))
    return f"{BASE.format(name=model.entry.name)}/strips/{key}.png"


def routes(registry: Callable[[], Registry]) -> list[BaseRoute]:
    """This module's route; `registry` returns the process's single registry."""

    def get(model: LoadedModel, offer: tuple[Strip, float]) -> Response:
        strip, full = offer
        return respond(strip_png(strip.walk(model, difference_full=full)), "image/png")

    return [_offers.route(registry, "strips/{key}.png", get)]
