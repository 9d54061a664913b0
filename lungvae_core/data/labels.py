"""Which classes to distinguish (the task) and how ratings become a label (the label rule).

Rules change AUCs by 0.04 on LIDC-IDRI, so a figure without its rule means nothing. All of them use the
readers' malignancy ratings of a nodule, so that its slices share one label.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
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
    if rule in ("median_high", "three_readers") or _without_list(table):
        rating = numbers(table, "malignancy")
    else:
        rating = reader_mean(table, "malignancy")
    if rule == "three_readers":
        rating = np.where(reader_count(table) >= 3, rating, np.nan)
    if rule == "strict":
        malignant, benign = rating >= 3.5, rating <= 2.5
    else:
        malignant, benign = rating > 3, rating < 3
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
    twice = 2 * numbers(table, "malignancy")
    return bool((np.abs(twice - np.rint(twice)) > 1e-3).any())


def _without_list(table: pd.DataFrame) -> bool:
    return "malignancy_all" not in table and holds_means(table)


def over_readers(joined: pd.Series, figure: Callable[[list[float]], float]) -> np.ndarray:
    """(N,) float: a figure of each row's ratings, which are joined as "3|4|4"; NaN where there is none."""
    # Few distinct texts stand for thousands of rows.
    codes, distinct = pd.factorize(joined.astype("string").fillna(""))
    ratings = [[float(part) for part in text.split("|") if part.strip()] for text in distinct]
    return np.array([figure(each) if each else np.nan for each in ratings], float)[codes]


def reader_mean(table: pd.DataFrame, rating: str) -> np.ndarray:
    """(N,) float: the mean over readers of a rating's column `<rating>_all`, NaN where it is empty."""
    return over_readers(_all(table, rating), lambda ratings: float(np.mean(ratings)))


def reader_spread(table: pd.DataFrame, rating: str) -> np.ndarray:
    """(N,) float: the largest difference between readers; NaN where fewer than two rated."""
    return over_readers(_all(table, rating), lambda each: np.ptp(each) if len(each) > 1 else np.nan)


def calcified_share(table: pd.DataFrame) -> np.ndarray:
    """(N,) float 0..1: the share of the readers who saw calcium; LIDC's rating of none is 6."""
    return over_readers(
        _all(table, "calcification"), lambda ratings: float(np.mean(np.not_equal(ratings, 6)))
    )


def rating_level(table: pd.DataFrame, rating: str) -> np.ndarray:
    """(N,) float: how much of a rating the readers saw, on average; NaN where nobody rated it.

    For calcification, whose grades are types rather than degrees, the share who saw any.
    """
    return calcified_share(table) if rating == "calcification" else reader_mean(table, rating)


def reader_count(table: pd.DataFrame) -> np.ndarray:
    """(N,) int: how many readers rated the malignancy of a slice's nodule."""
    return np.nan_to_num(over_readers(_all(table, "malignancy"), len)).astype(int)


def _all(table: pd.DataFrame, rating: str) -> pd.Series:
    name = f"{rating}_all"
    if name not in table:
        raise UserError(
            f"The data have no column {name} (every reader's rating, `|` between), which is needed here."
        )
    return table[name]
