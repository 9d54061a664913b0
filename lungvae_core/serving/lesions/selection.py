"""A selection made on a map: in words, as cards and as a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core import NOTICE
from lungvae_core.csv_files import csv_bytes
from lungvae_core.data.columns import NODULE
from lungvae_core.data.slices import malignancy_grade, malignancy_meaning
from lungvae_core.explore.colours import MALIGNANCY
from lungvae_core.number_text import plural
from lungvae_core.parameters import ParameterError
from lungvae_core.serving.models.registry import LoadedModel

LONGEST = 20_000  # characters of a selection in an address
_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", re.ASCII)


def valid_rows(model: LoadedModel, rows: Sequence[int]) -> list[int]:
    """Those of `rows` that the model's table has, each once, in their order."""
    return list(dict.fromkeys(int(row) for row in rows if 0 <= int(row) < len(model.codes)))


def as_ranges(rows: Sequence[int]) -> str:
    """Rows in a short form for an address: "3-9,12"."""
    chosen = np.unique(np.asarray(rows, int))
    parts = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1) if len(chosen) else []
    return ",".join(
        str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in map(np.ndarray.tolist, parts)
    )


def of_ranges(model: LoadedModel, text: str) -> list[int]:
    """The rows that `as_ranges` wrote; UserError for anything else, and for rows not in the table."""
    if len(text) > LONGEST or not _RANGES.fullmatch(text):
        raise ParameterError("The address names a selection that cannot be read. Copy the whole of it again.")
    chosen = np.zeros(len(model.codes), bool)
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = int(first), int(last or first)
        if end >= len(model.codes):
            raise ParameterError(
                f"The address selects slice {end}; the model {model.entry.name} has 0 to "
                f"{len(model.codes) - 1:,}. It may be of other data."
            )
        chosen[begin : end + 1] = True
    return np.flatnonzero(chosen).tolist()


def counted(model: LoadedModel, rows: Sequence[int]) -> str:
    """How many slices, nodules and patients: "12 slices of 5 nodules of 4 patients"."""
    chosen = model.table[NODULE].iloc[list(rows)]
    nodules = len(chosen.drop_duplicates())
    parts = ((len(chosen), "slice"), (nodules, "nodule"), (chosen["patient_id"].nunique(), "patient"))
    return " of ".join(plural(count, name) for count, name in parts)


def composition(model: LoadedModel, rows: Sequence[int]) -> pd.DataFrame:
    """How the readers rated the selection beside all slices: rows ratings, shares (0..1) in two columns.

    Empty where the table has no malignancy. Unrated slices are not counted; a mean rating counts for the
    nearest grade on its side of 3.
    """
    if "malignancy" not in model.table:
        return pd.DataFrame(columns=["selection", "all slices"])
    shares = {
        name: pd.Series(malignancy_grade(table["malignancy"].dropna().to_numpy(float)))
        .value_counts(normalize=True)
        .reindex(range(1, 6))
        for name, table in (("selection", model.table.iloc[list(rows)]), ("all slices", model.table))
    }
    frame = pd.DataFrame(shares).fillna(0.0).astype(float)
    frame.index = pd.Index(MALIGNANCY, name="malignancy")
    return frame


def card(model: LoadedModel, row: int) -> dict[str, Any]:
    """The content of a lesion's card: {"row", "title", "lines", "real"}."""
    return cards(model, [row])[0]


def cards(model: LoadedModel, rows: Sequence[int], *, readers: bool = False) -> list[dict[str, Any]]:
    """The content of the lesions' cards, in the order of `rows`; see `card`.

    With `readers`, cards give each reader's malignancy rating instead of their median in words.
    """

    texts: dict[str, Callable[[Any], str]] = {
        "malignancy": malignancy_meaning,
        "diameter_mm": lambda mm: f"{mm:.1f} mm",
        "score": lambda score: f"score {score:.2f}",
    }
    if readers and "malignancy_all" in model.table:
        del texts["malignancy"]
        texts = {"malignancy_all": lambda all: f"malignancy {str(all).replace('|', ', ')}", **texts}
    made = []
    for row, real in zip(rows, model.real[list(rows)], strict=True):
        entry = model.lesion(row)
        lines = [f"nodule {entry['nodule']}, slice {entry['slice']}"]
        lines += [as_text(entry[name]) for name, as_text in texts.items() if not pd.isna(entry.get(name))]
        title = str(entry["patient_id"])
        made.append({"row": int(row), "title": title, "lines": list(filter(None, lines)), "real": bool(real)})
    return made


def csv(model: LoadedModel, rows: Sequence[int]) -> bytes:
    """The table's rows as UTF-8 CSV, with `row`, the model's name and the standing notice in each."""
    chosen = model.table.iloc[list(rows)].copy()
    chosen.insert(0, "row", list(rows))
    return csv_bytes(chosen.assign(model=model.entry.name, notice=NOTICE))
