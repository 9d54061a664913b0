"""Wishes of many people: gathered into batches, answered to whom they belong, each failing alone."""

from __future__ import annotations

import json
import threading
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.walks.live import DecodeRequest, Question
from lungvae_core.serving.walks.live_batch import MOST, Decoder


class SlowModel:
    """Decodes a code to an image of its number, as soon as it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.batches: list[tuple[int, bool]] = []

    def decode(self, codes: np.ndarray, *, quick: bool = False) -> np.ndarray:
        self.batches.append((len(codes), quick))
        assert self.may.wait(20)
        if (codes > 900).any():
            raise RuntimeError("out of memory")
        return np.broadcast_to(codes[:, :1, None], (len(codes), 64, 64))

    def score(self, codes: np.ndarray, *, patient: str | None) -> None:
        return None


class Person:
    """A session that asks for codes by number."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def question(self, text: str) -> Question:
        request = DecodeRequest(start="prior", **json.loads(text))
        if request.id == 13:
            raise UserError("There is no 13.")
        return Question(request, np.full(3, request.id, np.float32), np.zeros(3, np.float32), None)

    def frame(self, question: Question, image: np.ndarray, score: float) -> bytes:
        assert np.isnan(score)
        return f"{question.request.id}: {image[5, 5]:.0f}".encode()


def submit(decoder: Decoder, model: Any, number: int, **more: Any) -> Any:
    return decoder.ask(Person(model), json.dumps({"id": number, **more}))  # type: ignore[arg-type]


@pytest.fixture
def busy() -> Any:
    """A decoder all of whose threads are waiting for a model, so that what is asked now gathers."""
    decoder, model = Decoder(), SlowModel()
    for _ in range(500):
        if len(model.batches) >= decoder.threads:
            break
        submit(decoder, model, 0)
        threading.Event().wait(0.02)
    model.batches.clear()
    return SimpleNamespace(decoder=decoder, model=model)


def test_what_gathers_is_decoded_in_batches_and_answered_to_whom_it_belongs(busy: Any) -> None:
    futures = [submit(busy.decoder, busy.model, number) for number in range(100, 120)]
    busy.model.may.set()
    assert [future.result(20).decode() for future in futures] == [f"{n}: {n}" for n in range(100, 120)]
    sizes = [size for size, _ in busy.model.batches]
    assert max(sizes) > 1
    assert max(sizes) <= MOST
    assert len(sizes) <= 4  # of twenty requests, and some that were asked to keep the threads busy


def test_a_bad_wish_fails_alone(busy: Any) -> None:
    good, bad, other = (submit(busy.decoder, busy.model, number) for number in (1, 13, 2))
    busy.model.may.set()
    with pytest.raises(UserError, match="no 13"):
        bad.result(20)
    assert good.result(20) == b"1: 1"
    assert other.result(20) == b"2: 2"


def test_trouble_in_a_batch_is_reported_to_all_of_it_and_the_next_one_is_answered(busy: Any) -> None:
    futures = [submit(busy.decoder, busy.model, 901), submit(busy.decoder, busy.model, 902)]
    busy.model.may.set()
    wait(futures, 20)
    assert all(isinstance(future.exception(0), RuntimeError) for future in futures)
    for _ in range(busy.decoder.threads + 1):
        assert submit(busy.decoder, busy.model, 7).result(20) == b"7: 7"


def test_models_and_precisions_are_not_mixed(busy: Any) -> None:
    other = SlowModel()
    other.may.set()
    futures = [
        submit(busy.decoder, busy.model, 1, quick=True),
        submit(busy.decoder, busy.model, 2),
        submit(busy.decoder, other, 3),
    ]
    busy.model.may.set()
    assert [future.result(20).decode() for future in futures] == ["1: 1", "2: 2", "3: 3"]
    assert other.batches == [(1, False)]
    assert (1, True) in busy.model.batches


def test_who_has_gone_is_not_answered(busy: Any) -> None:
    gone, here = submit(busy.decoder, busy.model, 5), submit(busy.decoder, busy.model, 6)
    assert gone.cancel()
    busy.model.may.set()
    assert here.result(20) == b"6: 6"
