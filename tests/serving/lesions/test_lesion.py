"""A nodule's slices over HTTP, with the data and without."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import lesion
from lungvae_core.serving.models.registry import Registry

NAME = "tiny-gvae"
NODULE = "/api/models/tiny-gvae/nodules/12"  # rows 10..14


def client_of(registry: Registry) -> TestClient:
    return TestClient(Starlette(routes=lesion.routes(lambda: registry)), base_url="http://testserver")


def test_slices_follow_the_body_and_not_their_numbers(with_data):
    model = with_data.load(NAME)
    table = model.table.copy()
    table.loc[10:14, "z_mm"] = [4.0, 3.0, 2.0, 1.0, 0.0]
    turned = type("Turned", (), {"table": table, "codes": model.codes})()
    assert lesion.slices(turned, 12) == [14, 13, 12, 11, 10]
    assert lesion.slices(turned, 15) == [15, 16, 17, 18, 19]
    assert lesion.slices(model, 12) == [10, 11, 12, 13, 14]
    with pytest.raises(UserError, match="no slice 120"):
        lesion.slices(model, 120)


def test_ct_is_given_in_its_own_hu_with_the_readers_outline(with_data, tiny_data):
    client, data = client_of(with_data), SliceSet.open(tiny_data)
    answer = client.get(f"{NODULE}/3.hu")
    assert (answer.headers["x-generated"], answer.headers["cache-control"]) == ("0", "no-store")
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2").reshape(64, 64), data.slices[13])
    outline = client.get(f"{NODULE}/3.mask")
    np.testing.assert_array_equal(np.frombuffer(outline.content, np.uint8).reshape(64, 64), data.masks[13])


def test_without_ct_a_reconstruction_in_hu_says_that_it_is_generated(without_data):
    client, model = client_of(without_data), without_data.load(NAME)
    answer = client.get(f"{NODULE}/0.hu")
    assert answer.headers["x-generated"] == "1"
    values = np.frombuffer(answer.content, "<i2")
    assert values.min() >= model.window[0]
    assert values.max() <= model.window[1]
    outline = client.get(f"{NODULE}/0.mask")
    assert outline.status_code == 404
    assert "generated" in outline.json()["error"]


@pytest.mark.parametrize("address", [f"{NODULE}/5.hu", "/api/models/tiny-gvae/nodules/999/0.hu"])
def test_what_is_not_there_is_said(with_data, address):
    answer = client_of(with_data).get(address)
    assert answer.status_code == 404
    assert "slice" in answer.json()["error"]


def test_a_folder_is_not_opened_by_its_path(with_data):
    assert client_of(with_data).get("/api/models/elsewhere/nodules/0/0.hu").status_code == 404


def test_only_ct_and_fixed_spacings_have_a_scale(with_data, without_data):
    assert lesion.spacing_mm(with_data.load(NAME), [10, 11]) == pytest.approx(0.7)
    assert lesion.spacing_mm(without_data.load(NAME), [10, 11]) is None
