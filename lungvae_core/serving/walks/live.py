"""Decoding while a slider is dragged: the browser's requests over a WebSocket, and the frames it gets.

Rerunning a page for every move is too slow. An HTTP response is sent in two writes, which Nagle's algorithm
and delayed acknowledgements separate by 40 ms; a WebSocket frame is one write.

The browser sends JSON text, one request at a time:

    {"id": 7, "start": "row:12", "along": [["malignancy", 0.5]], "edits": [[3, 0.5]], "move": [5, 1.25]}

`start` is a name in `LoadedModel.starts`, "row:N", "draw:SEED" (from the prior), or a code itself (see
`code_name`); `along` moves it along directions of directions.json by so many standard deviations of their
scores; `edits` are dimensions set to values (see `explore.traversal.edited`), and `move` then takes one
dimension to a value along `Latent.path`, which on the simplex rescales the others. The answer is
little-endian and has the whole code, so that every slider follows:

    uint32 id, uint32 K, float32 score (NaN without a classifier), float32 code[K],
    uint8 image[64 * 64] of the model's window, int8 difference[64 * 64] to the decoded start, where
    +-127 is +-DIFFERENCE_FULL of the window's width (what lies beyond is clipped)

"quick": true means that the image will soon be replaced, as while dragging, so it may be slightly inexact
(`vae.quick`). Requests of different people that wait at the same time are decoded in one batch
(`live_batch`). A request with "facts": true is answered with JSON text instead, by another thread, so that no
image waits for it: the score's band, how far the code is from the lesions, the measured properties of the
image, and its position on the map.

A bad request closes the connection with code 1008 and the reason in words.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json
from lungvae_core.palette import grey
from lungvae_core.serving.lesions.cases import known_patient
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths
from lungvae_core.serving.walks.film import in_words, make_film
from lungvae_core.vae.latents import LARGEST

DIFFERENCE_FULL = 0.25  # share of the window's width at which a difference has full colour

FARTHEST = 20.0  # standard deviations along a direction; the lesions span about five

_Edit = tuple[int, float]


class DecodeRequest(BaseModel):
    """What the browser asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: int = Field(ge=0, lt=2**32)
    start: str = Field(max_length=24_000)  # a code of 4,096 dimensions, the most a model has
    along: tuple[tuple[str, float], ...] = Field(default=(), max_length=20)
    edits: tuple[_Edit, ...] = ()
    move: _Edit | None = None
    quick: bool = False
    facts: bool = False


@dataclass(frozen=True)
class Question:
    """A parsed request: the code to decode, and the start to compare it with."""

    request: DecodeRequest
    code: np.ndarray  # (K,)
    start: np.ndarray  # (K,)
    patient: str | None  # of the data set, whose lesion is the start


class Session:
    """One connection's state for a model; it keeps the start that it decoded last."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._starts = lru_cache(maxsize=4)(lambda name: start_code(model, name))
        self._patients = lru_cache(maxsize=4)(lambda name: start_patient(model, name))
        self._at_start = lru_cache(maxsize=4)(lambda name: model.decode(self._starts(name)[None])[0])
        model.decode(model.latent.centre()[None], quick=True)  # the first such image takes longer

    @property
    def longest_message(self) -> int:
        """The length of the longest reasonable request, in characters."""
        return 1_000 + 50 * self.model.entry.dimensions

    def question(self, text: str) -> Question:
        """Parse a request in JSON; UserError says what is wrong with it."""
        try:
            request = DecodeRequest.model_validate(parse_json(text, what="A request"))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"A request was not understood: {place} {first['msg']}.") from error
        for dimension, value in (*request.edits, *([request.move] if request.move else [])):
            self._check(dimension, value)
        start = self._starts(request.start)
        code = self.model.latent.edited(moved_along(self.model, start, request.along), dict(request.edits))
        if request.move is not None:
            dimension, value = request.move
            code = self.model.latent.path(code, dimension, np.array([value], np.float32))[0]
        return Question(request, code, start, self._patients(request.start))

    def frame(self, question: Question, image: np.ndarray, score: float) -> bytes:
        """The answer, given the decoded image (64, 64)."""
        return frame(question.request.id, question.code, score, image, self._at_start(question.request.start))

    def facts(self, text: str) -> str:
        """The facts about a request's code, as JSON; UserError says what is wrong with the request."""
        question = self.question(text)
        facts = facts_of(self.model, question.code, question.patient)
        return json.dumps({"id": question.request.id, **facts})

    def _check(self, dimension: int, value: float) -> None:
        count = self.model.entry.dimensions
        if not 0 <= dimension < count:
            raise UserError(f"There is no dimension {dimension}; they are 0 to {count - 1}.")
        low, high = self.model.latent.bounds
        if not low <= value <= high:
            raise UserError(f"{value:g} lies outside {low:g} to {high:g}.")


def moved_along(model: LoadedModel, code: np.ndarray, along: Sequence[tuple[str, float]]) -> np.ndarray:
    """(K,) a code moved along directions by so many standard deviations of their scores."""
    along = [(name, value) for name, value in along if value]
    if not along:
        return code
    learned = paths.directions(model)
    point = None
    for name, value in along:
        if learned is None or name not in learned.directions:
            raise UserError(f"The model has no direction {name[:40]!r}.")
        if abs(value) > FARTHEST:
            raise UserError(f"{value:g} standard deviations are too far; {FARTHEST:g} are the most.")
        point = learned.space.to(code[None]) if point is None else point
        point = point + value * learned.directions[name].pattern
    assert learned is not None
    assert point is not None
    return learned.space.back(point)[0]


def facts_of(model: LoadedModel, code: np.ndarray, patient: str | None) -> dict[str, Any]:
    """The facts about a code (K,) other than its image, ready for JSON; None where unknown.

    `patient` is the patient of the data set whose lesion is the start of the walk.
    """
    film = make_film(model, code[None], patient=patient)
    near = float(film.familiarity[0])
    measured = {
        name: None if np.isnan(values[0]) else round(float(values[0]), 2)
        for name, values in film.measured.items()
    }
    if model.spacing_mm and (pixels := measured.get("diameter, px")) is not None:
        measured["diameter, mm"] = round(pixels * model.spacing_mm, 1)
    try:
        place = [round(float(value), 4) for value in model.place(code, "slice", "umap")]
    except UserError:  # the model has no map
        place = None
    return {
        "band": None if film.bands is None else [round(float(end), 3) for end in film.bands[0]],
        "familiarity": round(near, 3),
        "far": bool(film.far[0]),
        "words": in_words(near),
        "measured": measured,
        "place": place,
    }


def code_name(code: np.ndarray, patient: str | None = None) -> str:
    """The name of a start given as a code (K,), such as an upload's, of a `patient` of the data set."""
    name = "code:" + base64.urlsafe_b64encode(np.asarray(code, "<f4").tobytes()).decode()
    return name if patient is None else f"{name}@{patient}"


def start_patient(model: LoadedModel, name: str) -> str | None:
    """The patient of the data set whose lesion is the start; None without one. See `start_code`."""
    kind, _, rest = name.partition(":")
    if name in model.starts:
        return None
    if kind == "row":
        return str(model.table["patient_id"].iloc[int(rest)])
    return known_patient(model, rest.partition("@")[2]) if kind == "code" else None


def start_code(model: LoadedModel, name: str) -> np.ndarray:
    """The code (K,) of a start: one of `model.starts`, "row:N" of its table, "draw:SEED", a `code_name`."""
    if name in model.starts:
        return model.starts[name]
    kind, _, rest = name.partition(":")
    number = int(rest) if rest.isascii() and rest.isdigit() and len(rest) < 10 else -1
    if kind == "row" and 0 <= number < len(model.codes):
        return model.codes[number]
    if kind == "draw" and number >= 0:
        return model.latent.draw(number)
    if kind == "code":
        try:
            code = np.frombuffer(base64.urlsafe_b64decode(rest.partition("@")[0]), "<f4")
        except ValueError:
            code = np.empty(0)
        if len(code) == model.entry.dimensions and (np.abs(code) <= LARGEST).all():  # NaN fails too
            return model.latent.valid(code)
    raise UserError(f"There is no start {name[:40]!r} in this model.")


def frame(identity: int, code: np.ndarray, score: float, image: np.ndarray, at_start: np.ndarray) -> bytes:
    """The binary answer for a code (K,) and images (64, 64) in 0..1; see the module's docstring."""
    difference = np.clip((image - at_start) / DIFFERENCE_FULL, -1, 1)
    return b"".join(
        (
            struct.pack("<IIf", identity, len(code), score),
            np.asarray(code, "<f4").tobytes(),
            grey(image).tobytes(),
            np.rint(difference * 127).astype(np.int8).tobytes(),
        )
    )
