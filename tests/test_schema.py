from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.schema import Count, Interval, Number, Part, read_as, same_shape
from tests.conftest import ROOT


class Inner(Part):
    """A part."""

    count: Count
    share: Number = 0.0


class Outer(Part):
    """A whole."""

    format: Count = 1
    parts: dict[str, list[Inner]]


GOOD = {"parts": {"a": [{"count": 1, "share": 2, "more": "passed over"}]}}


def read(path: Path, value: object) -> object:
    path.write_text(json.dumps(value))
    return read_as(path, Outer, what="It", again="make it", newest=1)


def test_what_is_as_declared_comes_as_it_was_written(tmp_path: Path):
    assert read(tmp_path / "a.json", GOOD) == GOOD


@pytest.mark.parametrize(
    ("inner", "place"),
    [
        ({"count": -1}, "parts.a.0.count"),
        ({"count": True}, "parts.a.0.count"),
        ({"count": "1"}, "parts.a.0.count"),
        ({"count": 1.5}, "parts.a.0.count"),
        ({"share": 1}, "parts.a.0.count"),
        ({"count": 1, "share": 1e300}, "parts.a.0.share"),
        ([], "parts.a.0"),
        (None, "parts.a.0"),
    ],
)
def test_the_sentence_names_the_place_and_the_command(inner: object, place: str, tmp_path: Path):
    with pytest.raises(UserError, match=rf"a\.json is damaged at {place}\. Make it again with `make it`\."):
        read(tmp_path / "a.json", {"parts": {"a": [inner]}})


def test_a_name_that_cannot_be_shown_is_not_quoted(tmp_path: Path):
    with pytest.raises(UserError, match=r"a\.json is damaged\. Make it again"):
        read(tmp_path / "a.json", {"parts": {"\u202e": 5}})


def test_a_later_format_is_reported(tmp_path: Path):
    with pytest.raises(UserError, match="has format 2; this version reads up to 1"):
        read(tmp_path / "a.json", GOOD | {"format": 2})


def test_a_figure_has_its_interval_and_a_matrix_its_shape():
    Interval.model_validate({"value": None, "low": None, "high": None})
    with pytest.raises(ValueError, match="without its interval"):
        Interval.model_validate({"value": 1.0, "low": None, "high": 2.0})
    same_shape([[1.0, 2.0]], 1, 2)
    with pytest.raises(ValueError, match="2 x 2"):
        same_shape([[1.0, 2.0], [1.0]], 2, 2)


def test_what_pages_index_is_read_by_it_alone():
    """Reports that pages index go through `read_as` or a model: no bare `read_json` in their readers."""
    for name in ("explore", "evaluation/disentanglement"):
        for path in (ROOT / "lungvae_core" / name).rglob("*.py"):
            assert "read_json(" not in path.read_text(), path
