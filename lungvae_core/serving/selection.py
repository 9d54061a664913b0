"""What a person has selected on a map: in words, as cards and as a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core import NOTICE
from lungvae_core.data.slices import MALIGNANCY_WORDS
from lungvae_core.errors import UserError
from lungvae_core.explore.colours import MALIGNANCY
from lungvae_core.serving.registry import LoadedModel


def valid_rows(model: LoadedModel, rows: Sequence[int]) -> list[int]:
    """Those of `rows` that the model's table has, each once, in their order."""
    return list(dict.fromkeys(int(row) for row in rows if 0 <= int(row) < len(model.table)))


def as_ranges(rows: Sequence[int]) -> str:
    """Rows in a short form for an address: "3-9,12"."""
    chosen = np.unique(np.asarray(rows, int))
    parts = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1) if len(chosen) else []
    return ",".join(
        str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in map(np.ndarray.tolist, parts)
    )


def of_ranges(model: LoadedModel, text: str) -> list[int]:
    """The rows that `as_ranges` wrote; UserError for anything else, and for rows that the table has not."""
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", text, re.ASCII):
        raise UserError("The address names a selection that cannot be read. Copy the whole of it again.")
    rows: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = int(first), int(last or first)
        if end >= len(model.table):
            raise UserError(
                f"The address selects slice {end}; the model {model.entry.name} has 0 to "
                f"{len(model.table) - 1:,}. It may be of other data."
            )
        rows.update(range(begin, end + 1))
    return sorted(rows)


def counted(model: LoadedModel, rows: Sequence[int]) -> str:
    """How many slices, nodules and patients: "12 slices of 5 nodules of 4 patients"."""
    chosen = model.table.iloc[list(rows)]
    nodules = len(chosen[["patient_id", "nodule"]].drop_duplicates())
    parts = ((len(chosen), "slice"), (nodules, "nodule"), (chosen["patient_id"].nunique(), "patient"))
    return " of ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in parts)


def composition(model: LoadedModel, rows: Sequence[int]) -> pd.DataFrame:
    """How the readers rated the selection beside all slices: rows ratings, shares (0..1) in two columns.

    Empty where the table has no malignancy. Unrated slices are not counted.
    """
    if "malignancy" not in model.table:
        return pd.DataFrame(columns=["selection", "all slices"])
    shares = {
        name: table["malignancy"].dropna().astype(int).value_counts(normalize=True).reindex(range(1, 6))
        for name, table in (("selection", model.table.iloc[list(rows)]), ("all slices", model.table))
    }
    frame = pd.DataFrame(shares).fillna(0.0).astype(float)
    frame.index = pd.Index(MALIGNANCY, name="malignancy")
    return frame


def card(model: LoadedModel, row: int) -> dict[str, Any]:
    """What a lesion's card says: {"row", "title", "lines", "real"}."""
    return cards(model, [row])[0]


def cards(model: LoadedModel, rows: Sequence[int], *, readers: bool = False) -> list[dict[str, Any]]:
    """What the lesions' cards say, in the order of `rows`; see `card`.

    `readers` tells each reader's malignancy rating instead of their median's words.
    """
    table = model.table.iloc[list(rows)]

    def texts(column: str, words: Callable[[Any], str]) -> list[str]:
        if column not in table:
            return [""] * len(table)
        return ["" if pd.isna(value) else words(value) for value in table[column]]

    by_reader = readers and "malignancy_all" in table
    lines = zip(
        [
            f"nodule {nodule}, slice {number}"
            for nodule, number in zip(table["nodule"], table["slice"], strict=True)
        ],
        texts("malignancy_all", lambda all: f"malignancy {str(all).replace('|', ', ')}")
        if by_reader
        else texts("malignancy", lambda rating: MALIGNANCY_WORDS[int(rating)]),
        texts("diameter_mm", lambda mm: f"{mm:.1f} mm"),
        texts("score", lambda score: f"score {score:.2f}"),
        strict=True,
    )
    return [
        {"row": int(row), "title": str(title), "lines": [line for line in said if line], "real": bool(real)}
        for row, title, said, real in zip(
            rows, table["patient_id"], lines, model.real[list(rows)], strict=True
        )
    ]


def csv(model: LoadedModel, rows: Sequence[int]) -> bytes:
    """The table's rows as UTF-8 CSV, with `row`, the model's name and the standing notice in each."""
    chosen = model.table.iloc[list(rows)].copy()
    chosen.insert(0, "row", list(rows))
    return chosen.assign(model=model.entry.name, notice=NOTICE).to_csv(index=False).encode()
