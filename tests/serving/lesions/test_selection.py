"""A selection as cards and as a group against the rest."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from lungvae_core import NOTICE
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import selection


def test_cards_keep_the_order_and_tell_the_readers(model):
    payload = selection.cards(model, [30, 2], readers=True)
    assert [card["row"] for card in payload] == [30, 2]
    rating = model.table["malignancy_all"].iloc[30].replace("|", ", ")
    assert f"malignancy {rating}" in payload[0]["lines"]
    assert all(card["real"] for card in payload)
    assert selection.cards(model, [30]) == [selection.card(model, 30)]
    assert selection.cards(model, []) == []


def test_the_file_has_all_rows_and_the_notice(model):
    table = pd.read_csv(io.BytesIO(selection.csv(model, [30, 2])))
    assert table["row"].tolist() == [30, 2]
    assert (table["notice"] == NOTICE).all()


@pytest.mark.parametrize(
    ("rows", "text"), [([], ""), ([5], "5"), ([9, 3, 4, 5, 9], "3-5,9"), (list(range(100)), "0-99")]
)
def test_rows_in_an_address_and_back(model, rows, text):
    assert selection.as_ranges(rows) == text
    if text:
        assert selection.of_ranges(model, text) == sorted(set(rows))


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "1;2", "٣", "0-120", "999999999", "1" * 10])
def test_a_selection_from_elsewhere_is_read_or_refused(model, text):
    with pytest.raises(UserError, match="address"):
        selection.of_ranges(model, text)
