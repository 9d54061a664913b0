"""Uploads in memory: over HTTP, under names that cannot be guessed, and never on the disk."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.formparsers import MultiPartParser
from starlette.testclient import TestClient

from lungvae_core.data.series import Series
from lungvae_core.serving.lesions.uploads import MOST_UPLOAD_MB, Uploads, routes, source

HU = np.arange(3 * 70 * 80, dtype=np.int16).reshape(3, 70, 80) - 2000


@pytest.fixture
def uploads():
    return Uploads()


@pytest.fixture
def client(uploads):
    with TestClient(Starlette(routes=routes(uploads))) as found:
        yield found


def test_slices_and_outlines_are_served(uploads, client):
    token = uploads.put(Series("mine", HU))
    answer = client.get(f"{source(token)}/2.hu")
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2").reshape(70, 80), HU[2])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-generated"] == "0"
    assert client.get(f"{source(token)}/2.mask").status_code == 204
    mask = np.zeros(HU.shape, bool)
    mask[2, 10:20, 10:20] = True
    uploads.get(token).outline(mask)
    answer = client.get(f"{source(token)}/2.mask?version=1")
    np.testing.assert_array_equal(np.frombuffer(answer.content, np.uint8).reshape(70, 80), mask[2])
    assert client.get(f"{source(token)}/0.mask").status_code == 204


def test_what_is_not_there_is_said(uploads, client):
    token = uploads.put(Series("mine", HU))
    assert "no slice 3" in client.get(f"{source(token)}/3.hu").json()["error"]
    uploads.drop(token)
    answer = client.get(f"{source(token)}/0.hu")
    assert answer.status_code == 404
    assert "Choose the file again" in answer.json()["error"]
    assert client.get("/api/uploads/guess/0.hu").status_code == 404


def test_the_oldest_go_when_they_are_too_large():
    few = Uploads(most_bytes=5 * HU.nbytes)  # two with their masks
    first, second = few.put(Series("1", HU)), few.put(Series("2", HU))
    few.get(first)
    third = few.put(Series("3", HU))
    assert [few.get(token) is not None for token in (first, second, third)] == [True, False, True]
    huge = Uploads(most_bytes=1)
    assert huge.get(huge.put(Series("larger than all", HU))) is not None
    assert len({first, second, third}) == 3
    assert min(map(len, (first, second, third))) >= 32


def test_the_server_never_spools_an_upload_to_the_disk(client):
    assert MultiPartParser.spool_max_size >= MOST_UPLOAD_MB * 2**20
