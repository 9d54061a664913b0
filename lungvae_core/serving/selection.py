"""What a person has selected on a map: in words, as cards and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lungvae_core import NOTICE
from lungvae_core.data.slices import MALIGNANCY_WORDS
from lungvae_core.explore.colours import MALIGNANCY
from lungvae_core.serving.registry import LoadedModel


def valid_rows(model: LoadedModel, rows: Sequence[int]) -> list[int]:
    """Those of `rows` that the model's table has, each once, in their order."""
    return list(dict.fromkeys(int(row) for row in rows if 0 <= int(row) < len(model.table)))


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
    entry = model.table.iloc[row]
    lines = [f"nodule {entry['nodule']}, slice {entry['slice']}"]
    rating = entry.get("malignancy")
    if rating is not None and not pd.isna(rating):
        lines.append(MALIGNANCY_WORDS[int(rating)])
    diameter = entry.get("diameter_mm")
    if diameter is not None and not pd.isna(diameter):
        lines.append(f"{diameter:.1f} mm")
    score = entry.get("score")
    if score is not None and not pd.isna(score):
        lines.append(f"score {score:.2f}")
    return {
        "row": int(row),
        "title": str(entry["patient_id"]),
        "lines": lines,
        "real": bool(model.real[row]),
    }


def csv(model: LoadedModel, rows: Sequence[int]) -> bytes:
    """The table's rows as UTF-8 CSV, with `row`, the model's name and the standing notice in each."""
    chosen = model.table.iloc[list(rows)].copy()
    chosen.insert(0, "row", list(rows))
    return chosen.assign(model=model.entry.name, notice=NOTICE).to_csv(index=False).encode()
