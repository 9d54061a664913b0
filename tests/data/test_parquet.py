"""Parquet files: read as pandas reads them, and refused before they take the memory that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data import parquet
from lungvae_core.data.parquet import read_parquet, read_stream
from lungvae_core.errors import UserError

FRAME = pd.DataFrame(
    {
        "patient_id": ["A", "B", None],
        "count": pd.array([1, None, 3], dtype="Int64"),
        "share": [0.5, np.nan, 1.5],
        "seen": [True, False, True],
    }
)


@pytest.mark.parametrize(
    "how", [{}, {"compression": "gzip"}, {"row_group_size": 1}, {"use_dictionary": False}]
)
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, how: dict):
    path = tmp_path / "t.parquet"
    FRAME.to_parquet(path, **how)
    pd.testing.assert_frame_equal(read_parquet(path), FRAME)


def test_lists_are_read_where_they_are_allowed(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"ratings": [[4, 5], [2]], "names": ["a", "b"]}).to_parquet(path)
    with pytest.raises(UserError, match="its column 'ratings' has tables within cells"):
        read_parquet(path)
    with path.open("rb") as stream:
        assert [list(each) for each in read_stream(stream, path, lists=True)["ratings"]] == [[4, 5], [2]]
    pd.DataFrame({"tables": [[{"a": 1}], []]}).to_parquet(path)
    with path.open("rb") as stream, pytest.raises(UserError, match="tables within cells"):
        read_stream(stream, path, lists=True)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"MOST_ROWS": 2_999}, "it claims 3,000 rows of 2 columns"),
        ({"MOST_COLUMNS": 1}, "it claims 3,000 rows of 2 columns"),
        ({"LEAST": 20_000, "TIMES": 1}, "more than 20,000 bytes in memory"),
        ({"LEAST": 100_000, "TIMES": 1}, "up to 120,000 bytes of text"),  # one text, in every row
        ({"MOST_FOOTER": 10}, "its description would have"),
    ],
)
def test_a_small_file_that_takes_much_memory_is_refused(
    limits: dict[str, int], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"patient_id": "A" * 40, "nodule": range(3_000)}).to_parquet(path)
    assert len(read_parquet(path)) == 3_000
    for name, value in limits.items():
        monkeypatch.setattr(parquet, name, value)
    with pytest.raises(UserError, match=why):
        read_parquet(path)


def test_a_damaged_file_never_passes(tmp_path: Path):
    path = tmp_path / "t.parquet"
    FRAME.to_parquet(path)
    content = path.read_bytes()
    for damaged in (content[:-20], content[: len(content) // 2], b"PAR1" + bytes(20) + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises((UserError, OSError, ValueError, IndexError)):
            read_parquet(path)
