"""A path through the latent space as a film, with downloads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks.film import Film, make_film, offer
from lungvae_core.serving.walks.live import DIFFERENCE_FULL
from lungvae_core.serving.walks.render import Walk, gif, mp4, strip_png
from pages.components.filmstrip import filmstrip

STRIP = 11  # frames of the PNG


def show(
    model: LoadedModel,
    codes: np.ndarray,
    *,
    patient: str | None,
    key: str,
    title: str,
    ends: tuple[str, str] = ("A", "B"),
    places: np.ndarray | None = None,
) -> None:
    """Play codes (T, K); `title` names the path, `ends` the first and last frame.

    `patient` is the patient of the set with whose lesion the path starts; it decides which classifier scores
    the frames. `places` (T, 2) are the positions of the frames on a map on the same page.
    """
    filmstrip(
        model.entry.name,
        offer(model, codes, patient=patient),
        key=key,
        window=model.window,
        ends=ends,
        places=places,
    )
    few = np.unique(np.linspace(0, len(codes) - 1, min(STRIP, len(codes))).round().astype(int))

    def walk(frames: np.ndarray) -> Walk:
        return _walk(model, make_film(model, codes, patient=patient), title, ends, frames)

    name = f"{model.entry.name}_{key}"
    downloads(name, "Film", lambda: walk(np.arange(len(codes))), lambda: walk(few), key=key)
    st.caption(
        "Every frame is generated. The score's band contains 90 % of classifiers fitted to resampled "
        "patients; size, density and edge are measured on the decoded image, if it shows a lesion. Not "
        f"the course of a disease, and not a probability of cancer. {scoring.of_walk(model, patient)}"
    )


def downloads(
    name: str,
    what: str,
    whole: Callable[[], Walk],
    few: Callable[[], Walk],
    *,
    key: str,
    note: str = 'Marked "generated, not for clinical use".',
) -> None:
    """Offer a PNG strip of a `few` frames, and GIF and MP4 of the `whole`, each marked and made on request.

    `name` is that of the files, `what` the word for them on the buttons.
    """
    columns = st.columns([1, 1, 1, 2], vertical_alignment="center")
    offers = (
        ("Strip as PNG", lambda: strip_png(few()), "png", "image/png"),
        (f"{what} as GIF", lambda: gif(whole()), "gif", "image/gif"),
        (f"{what} as MP4", lambda: mp4(whole()), "mp4", "video/mp4"),
    )
    for column, (label, make, ending, kind) in zip(columns, offers, strict=False):
        column.download_button(
            label,
            make,
            f"{name}.{ending}",
            kind,
            on_click="ignore",
            key=f"{key}-{ending}",
            icon=":material/download:",
            width="stretch",
        )
    columns[3].caption(note)


def _walk(model: LoadedModel, film: Film, title: str, ends: tuple[str, str], frames: np.ndarray) -> Walk:
    last = len(film.codes) - 1
    ticks = tuple(
        ends[0] if at == 0 else ends[1] if at == last else f"{at / last:.0%}" for at in frames.tolist()
    )
    return Walk(
        title=model.entry.title,
        start=ends[0],
        dimension=-1,
        values=frames.astype(float),
        images=film.images[frames],
        at_start=film.images[0],
        window=model.window,
        scores=None if film.scores is None else film.scores[frames],
        difference_full=DIFFERENCE_FULL,
        way=title,
        ticks=ticks,
    )
