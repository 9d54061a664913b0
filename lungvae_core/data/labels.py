"""Which classes to distinguish (the task) and how ratings become a label (the label rule).

Rules change AUCs by 0.04 on LIDC-IDRI, so a figure without its rule means nothing. All of them use the
readers' malignancy ratings of a nodule, so that its slices share one label.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.errors import UserError

TASKS = {"mvb": "malignant against benign", "mvr": "malignant against the rest"}
RULES = {
    "median_high": "the higher median of the readers' malignancy ratings (the paper's): above 3 is "
    "malignant, below 3 benign",
    "mean": "the mean of the readers' malignancy ratings: above 3 is malignant, below 3 benign",
    "three_readers": "the higher median, as median_high, of nodules that at least 3 readers rated",
    "strict": "the mean of the readers' malignancy ratings: 3.5 and above is malignant, 2.5 and below benign",
}


def labels(table: pd.DataFrame, task: str = "mvb", rule: str = "median_high") -> np.ndarray:
    """(N,) float: 1 malignant, 0 benign (task mvr: or indeterminate), NaN where the rule gives no label.

    `table` has the columns `malignancy`, and for other rules than median_high `malignancy_all` (every
    reader's rating, `|` between); rules that use the mean do without it where malignancy is already a mean
    (`holds_means`). Raises UserError for an unknown task or rule, or a missing column.
    """
    if task not in TASKS:
        raise UserError(f"There is no task {task!r}. Choose one of: {', '.join(TASKS)}.")
    if rule not in RULES:
        raise UserError(f"There is no label rule {rule!r}. Choose one of: {', '.join(RULES)}.")
    upper, lower = (3.5, 2.5) if rule == "strict" else (3.0, 3.0)
    if rule in ("median_high", "three_readers") or _without_list(table):
        rating = _number(table, "malignancy")
    else:
        rating = reader_mean(table, "malignancy")
    if rule == "three_readers":
        rating = np.where(reader_count(table) >= 3, rating, np.nan)
    if rule == "strict":
        malignant, benign = rating >= upper, rating <= lower
    else:
        malignant, benign = rating > upper, rating < lower
    if task == "mvr":
        benign = ~malignant & ~np.isnan(rating)
    return np.where(malignant, 1.0, np.where(benign, 0.0, np.nan))


def rule_in_words(table: pd.DataFrame, rule: str) -> str:
    """The rule, and what was used instead where `table` lacks the ratings that it needs."""
    if rule in ("mean", "strict") and _without_list(table):
        return f"{RULES[rule]}; read from the column malignancy, which holds means here"
    if rule in ("median_high", "three_readers") and holds_means(table):
        return f"{RULES[rule]}; the column malignancy holds means here, which stand for the medians"
    return RULES[rule]


def holds_means(table: pd.DataFrame) -> bool:
    """Whether malignancy is the readers' mean: some value is one that no median of whole ratings can be."""
    twice = 2 * _number(table, "malignancy")
    return bool((np.abs(twice - np.rint(twice)) > 1e-3).any())


def _without_list(table: pd.DataFrame) -> bool:
    return "malignancy_all" not in table and holds_means(table)


def reader_mean(table: pd.DataFrame, rating: str) -> np.ndarray:
    """(N,) float: the mean over readers of a rating's column `<rating>_all`, NaN where it is empty."""
    column = _all(table, rating)
    means = {text: float(np.mean(_values(text))) if _values(text) else np.nan for text in column.unique()}
    return column.map(means).to_numpy(float)


def calcified_share(table: pd.DataFrame) -> np.ndarray:
    """(N,) float 0..1: the share of the readers who saw calcium; LIDC's rating of none is 6."""
    column = _all(table, "calcification")
    saw = {text: [value != 6 for value in _values(text)] for text in column.unique()}
    return column.map({text: np.mean(each) if each else np.nan for text, each in saw.items()}).to_numpy(float)


def rating_level(table: pd.DataFrame, rating: str) -> np.ndarray:
    """(N,) float: how much of a rating the readers saw, on average; NaN where nobody rated it.

    For calcification, whose grades are types rather than degrees, the share who saw any.
    """
    return calcified_share(table) if rating == "calcification" else reader_mean(table, rating)


def reader_count(table: pd.DataFrame) -> np.ndarray:
    """(N,) int: how many readers rated the malignancy of a slice's nodule."""
    column = _all(table, "malignancy")
    return column.map({text: len(_values(text)) for text in column.unique()}).to_numpy(int)


def _all(table: pd.DataFrame, rating: str) -> pd.Series:
    name = f"{rating}_all"
    if name not in table:
        raise UserError(
            f"The data have no column {name} (every reader's rating, `|` between), which is needed here."
        )
    return table[name].fillna("").astype(str)


def _values(text: str) -> list[float]:
    return [float(value) for value in text.split("|") if value.strip()]


def _number(table: pd.DataFrame, column: str) -> np.ndarray:
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=float, na_value=np.nan)
