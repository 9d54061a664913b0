"""Decode requests of many people together: a thread takes all waiting requests and decodes them in a batch.

Decoding ten codes in one batch takes about half the time of decoding them one after the other. A single
request does not wait: a batch contains what arrived while the last one was decoded. Each thread computes on
one core and takes its own batches. With one batch on all cores, every layer would wait for any core that is
busy with something else, such as drawing in a browser: next to a browser, twenty people waited twice as long.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future

import numpy as np

from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks.live import Question, Session

MOST = 10  # per batch; more would keep the first ones waiting for the last
THREADS = 4  # at most; a machine with many cores has other work too


class Decoder:
    """Threads that answer requests of any session, in batches per model."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Session, str, Future[bytes]]] = deque()
        self._wake = threading.Condition()
        self.threads = min(os.cpu_count() or 1, THREADS)
        for _ in range(self.threads):
            threading.Thread(target=self._work, name="live", daemon=True).start()

    def ask(self, session: Session, text: str) -> Future[bytes]:
        """A future of the frame for a request in JSON; for a bad request, only it fails, with UserError."""
        future: Future[bytes] = Future()
        with self._wake:
            self._waiting.append((session, text, future))
            self._wake.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    self._wake.wait()
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST))]
            self._answer(taken)

    def _answer(self, taken: list[tuple[Session, str, Future[bytes]]]) -> None:
        groups: dict[tuple[int, bool], list[tuple[Session, Question, Future[bytes]]]] = {}
        for session, text, future in taken:
            if not future.set_running_or_notify_cancel():
                continue  # the connection is closed
            try:
                question = session.question(text)
                together = (id(session.model), question.request.quick)
                groups.setdefault(together, []).append((session, question, future))
            except BaseException as error:  # of this request; the others are answered
                future.set_exception(error)
        for group in groups.values():
            try:
                frames = _decode(group)
            except BaseException as error:
                for _, _, future in group:
                    future.set_exception(error)
            else:
                for (_, _, future), frame in zip(group, frames, strict=True):
                    future.set_result(frame)


def _decode(group: list[tuple[Session, Question, Future[bytes]]]) -> list[bytes]:
    """The frames for requests to one model, either all quick or none."""
    model = group[0][0].model
    codes = np.stack([question.code for _, question, _ in group])
    images = model.decode(codes, quick=group[0][1].request.quick)
    scores = _scores(model, codes, [question.patient for _, question, _ in group])
    return [
        session.frame(question, image, score)
        for (session, question, _), image, score in zip(group, images, scores, strict=True)
    ]


def _scores(model: LoadedModel, codes: np.ndarray, patients: list[str | None]) -> list[float]:
    """The scores of codes (M, K), each by the classifier of its patient; NaN without a classifier."""
    scores = np.full(len(codes), np.nan)
    for patient in set(patients):
        rows = [at for at, each in enumerate(patients) if each == patient]
        of_patient = model.score(codes[rows], patient=patient)
        if of_patient is not None:
            scores[rows] = of_patient
    return scores.tolist()
