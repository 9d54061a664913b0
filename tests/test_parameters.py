"""Parameters of addresses: understood within their bounds, or refused in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core import parameters
from lungvae_core.parameters import ParameterError, Query
from tests import hostile

READERS = {
    "integer": lambda value: parameters.integer("it", value, -5, 5),
    "number": lambda value: parameters.number("it", value, -5, 5),
    "choice": lambda value: parameters.choice("it", value, ["a", "b"]),
    "text": lambda value: parameters.text("it", value, 50),
    "items": lambda value: parameters.items("it", value, 3),
    "hex_key": lambda value: parameters.hex_key("it", value, 4),
}


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=150, deadline=None)
@given(
    value=st.one_of(st.text(), st.from_regex(r"[-+.0-9eE]{1,30}"), st.sampled_from([*hostile.VALUES, "3"]))
)
def test_readers_understand_or_refuse_in_a_sentence(reader, value):
    try:
        understood = READERS[reader](value)
    except ParameterError as error:
        sentence = str(error)
        assert sentence.endswith(".")
        assert len(sentence) < 300
        assert sentence.isprintable(), sentence
        sentence.encode()
    else:
        if reader in ("integer", "number"):
            assert -5 <= understood <= 5
        again = READERS[reader](str(understood)) if reader in ("integer", "number") else understood
        assert again == understood


@pytest.mark.parametrize(
    ("value", "meant"), [("0", 0.0), ("-0", 0.0), ("1e-3", 0.001), ("2.", 2.0), (".5", 0.5), ("-4.25", -4.25)]
)
def test_numbers_as_people_write_them(value, meant):
    number = parameters.number("it", value)
    assert number == meant
    assert str(number) != "-0.0"


@pytest.mark.parametrize("value", ["", "1.5", "٣", " 1", "6", "-6", "1" * 30])
def test_other_integers_are_refused_with_the_bounds(value):
    with pytest.raises(ParameterError, match="it must be a whole number from -5 to 5"):
        parameters.integer("it", value, -5, 5)


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400, -6])
def test_a_number_from_json_is_finite_and_within_its_bounds(value):
    with pytest.raises(ParameterError, match="it is not a number from -5 to 5"):
        parameters.finite("it", value, -5, 5)
    assert parameters.finite("it", 3, -5, 5) == 3.0


def test_text_and_its_parts_have_bounds():
    assert parameters.items("it", "", 2) == []
    assert parameters.items("it", "a,b", 2) == ["a", "b"]
    with pytest.raises(ParameterError, match="it has 3 parts; 2 are the most"):
        parameters.items("it", "a,b,c", 2)
    with pytest.raises(ParameterError, match="it has 6 characters; 5 are the most"):
        parameters.text("it", "123456", 5)
    with pytest.raises(ParameterError, match="must be text"):
        parameters.text("it", 5)


def test_what_is_quoted_is_short_and_printable():
    quoted = parameters.shown("\x1b[31m" + "x" * 5_000)
    assert len(quoted) < 50
    assert quoted.isprintable()
    with pytest.raises(ParameterError, match=r"one of a, b\."):
        parameters.choice("it", "c", ["a", "b"])


def test_a_parameter_that_is_sent_twice_is_refused():
    query = Query([("unit", "slice"), ("dims", "2"), ("dims", "3"), ("unused", "x")])
    assert query.choice("unit", ["slice", "nodule"], "nodule") == "slice"
    assert query.choice("method", ["pca", "umap"], "umap") == "umap"
    assert query.get("absent", "default") == "default"
    with pytest.raises(ParameterError, match="dims is given 2 times"):
        query.get("dims")
