"""The columns of a data set's table: what each means, its unit and range, and what it belongs to.

This description is used to parse and check tables (`tables`) and to write docs/formats.md. Any other column
is the user's own. It may have any name: one that lungvae itself adds or derives (RESERVED) is stored as
`own:<name>`, so that the two are never confused.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

KEY = ["patient_id", "nodule", "slice"]
NODULE = KEY[:2]
# Reader's rating -> least and greatest value in LIDC-IDRI, whose readers gave internalStructure a 5 as well.
RATING_RANGES = {
    "subtlety": (1, 5),
    "internalStructure": (1, 5),
    "calcification": (1, 6),
    "sphericity": (1, 5),
    "margin": (1, 5),
    "lobulation": (1, 5),
    "spiculation": (1, 5),
    "texture": (1, 5),
    "malignancy": (1, 5),
}
RATINGS = list(RATING_RANGES)

Kind = Literal["text", "number", "whole number", "yes or no", "ratings"]
Owner = Literal["patient", "scan", "nodule", "slice"]


@dataclass(frozen=True)
class Column:
    """A column with a defined meaning."""

    name: str
    kind: Kind
    owner: Owner  # all rows of one owner have the same value
    meaning: str
    unit: str = ""
    low: float | None = None  # least and greatest value, both allowed
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value, infinite where there is none."""
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    @property
    def span(self) -> str:
        """The range in words, as "0.1 to 5 mm"; empty where there is none."""
        unit = f" {self.unit}" if self.unit else ""
        if self.low is None and self.high is None:
            return ""
        if self.high is None:
            return f"{self.low:g}{unit} or more"
        return f"{self.low:g} to {self.high:g}{unit}"


TABLE = [
    Column("patient_id", "text", "patient", "key: the patient, by whom splits are made"),
    Column("nodule", "whole number", "nodule", "key: the nodule's number within the patient", low=0),
    Column("slice", "whole number", "slice", "key: the slice's number within the nodule", low=0),
    Column(
        "malignancy",
        "number",
        "nodule",
        "the readers' rating, their median or mean: above 3 is malignant, below 3 benign, 3 indeterminate",
        low=1,
        high=5,
    ),
    *(
        Column(f"{name}_all", "ratings", "nodule", f"every reader's rating of {name}, `4|5|3`", "", low, high)
        for name, (low, high) in RATING_RANGES.items()
    ),
    Column("n_readers", "whole number", "nodule", "readers who marked the nodule", low=0, high=100),
    Column("diameter_mm", "number", "nodule", "largest diameter", "mm", 0.5, 300),
    Column("surface_mm2", "number", "nodule", "surface", "mm²", 0, 1e6),
    Column("volume_mm3", "number", "nodule", "volume", "mm³", 0, 1e7),
    Column("annotation_ids", "text", "nodule", "LIDC-IDRI's annotations"),
    Column("scan_id", "text", "scan", "the scan"),
    Column("series_uid", "text", "scan", "DICOM's series of the scan"),
    Column("pixel_spacing_mm", "number", "scan", "side of a pixel", "mm", 0.1, 5),
    Column("slice_thickness_mm", "number", "scan", "thickness of a slice", "mm", 0.05, 20),
    Column("slice_spacing_mm", "number", "slice", "distance to the next slice", "mm", 0, 50),
    Column("z_mm", "number", "slice", "position along the body", "mm", -10_000, 10_000),
    Column("row0", "whole number", "slice", "first row of the crop in its image", "px", -4096, 65_536),
    Column("col0", "whole number", "slice", "first column of the crop in its image", "px", -4096, 65_536),
    Column(
        "area_px", "whole number", "slice", "pixels of the lesion's mask, beyond the crop too", "px", 0, 2**18
    ),
    Column("mask_clipped", "yes or no", "slice", "the mask is larger than the crop"),
    Column("contrast", "yes or no", "scan", "a contrast agent was given"),
    Column("manufacturer", "text", "scan", "of the scanner"),
    Column("sop_uid", "text", "slice", "DICOM's instance of the slice"),
    Column("hu_source", "text", "slice", "how the slice's HU were obtained"),
    Column("hu_step", "number", "slice", "HU between neighbouring grey levels", "HU", 0, 4096),
    Column("paper_split", "text", "patient", "Train, Val or Test in the paper's split"),
]
# What a manifest has beside these: where the pixels of its slice are.
MANIFEST = [
    Column("file", "text", "slice", "the image file, relative to the manifest"),
    Column("mask", "text", "slice", "a file of the same size with the lesion's mask"),
    Column("row", "number", "slice", "row of the lesion's centre", "px", 0, 65_536),
    Column("column", "number", "slice", "column of the lesion's centre", "px", 0, 65_536),
    Column("index", "whole number", "slice", "slice of a stack, from 0", low=0, high=100_000),
    Column("hu_low", "number", "slice", "HU of black", "HU", -32_768, 32_767),
    Column("hu_high", "number", "slice", "HU of white", "HU", -32_768, 32_767),
]
# Names that the product adds to tables, or derives from them in filters, colours, reports and exports.
RESERVED = frozenset(
    {
        *("split", "score", "score_kind", "ssim", "mse"),  # latents.parquet
        *("label", "logit", "probability", "called", "fold", "seed", "known"),  # judged slices
        *("size_band", "reader_spread", "reader_mean", "error", "right", "slices", "cluster"),  # filters
        *(name for name in RATINGS if name != "malignancy"),  # means over readers
        *("row", "column", "index", "level_0", "mask", "at", "real", "model", "notice"),  # frames and exports
        *(f"{method}_{axis}" for method in ("umap", "tsne", "pca") for axis in "xyz"),  # maps
    }
)
OWN = "own:"
_RESERVED_KINDS = re.compile(r"(code\d+|factor.*)", re.DOTALL)  # codes; a phantom's factors
LONGEST_NAME = 80


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """(N,) float64 values of a column; NaN if a value or the column is missing."""
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=float, na_value=np.nan)


def squeezed(name: str) -> str:
    """A name for comparison, without case, blanks and punctuation: "Patient ID" is patient_id."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


_RESERVED = {squeezed(name) for name in RESERVED}


def is_reserved(name: str) -> bool:
    """Whether a user's own column of that name could be confused with one of ours."""
    short = squeezed(name)
    return short in _RESERVED or _RESERVED_KINDS.fullmatch(short) is not None


def own_name(name: str) -> str:
    """The name under which a user's own column is stored."""
    return f"{OWN}{name}" if is_reserved(name) else name


def without_own(names: Iterable[str], *, keep: Iterable[str] = ()) -> dict[str, str]:
    """Old name -> new name of columns to rename, so that only those of `keep` have reserved names."""
    names, kept = list(names), set(keep)
    taken, renamed = set(names), {}
    for name in names:
        if name not in kept and (new := own_name(name)) != name:
            renamed[name] = free_name(new, taken)
            taken.add(renamed[name])
    return renamed


def free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number appended where it is taken."""
    others, number, free = set(taken), 2, name
    while free in others:
        free, number = f"{name} ({number})", number + 1
    return free


def tidy(text: str) -> str:
    """Text without outer blanks, zero-width characters, and variants of the same character."""
    plain = unicodedata.normalize("NFKC", text)
    seen = "".join(c for c in plain if unicodedata.category(c) not in ("Cf", "Cc") or c in "\t\n\r")
    return " ".join(seen.split())


def patient_key(patient: object) -> str:
    """The form in which patient ids are compared: equal text is the same patient, in any table.

    Case, blanks, the kind of punctuation and leading zeros of a number do not count: `LIDC-IDRI-0002`,
    `lidc_idri_2` and `LIDC-IDRI-0002 ` are one. Letters and digits are never dropped, so `2` is another.
    """
    return _key(str(patient))


@lru_cache(100_000)
def _key(patient: str) -> str:
    text = tidy(patient).casefold()
    parts = [part for part in re.split(r"[\W_]+", text) if part]
    return "-".join(re.sub(r"^([^\W\d_]*)0+(?=\d+$)", r"\1", part) for part in parts) or text


def one_spelling(patients: pd.Series) -> pd.Series:
    """Ids with one spelling per patient: those with the same `patient_key` get the first one's text."""
    distinct = patients.unique()
    first: dict[str, object] = {}
    spelling = {patient: first.setdefault(patient_key(patient), patient) for patient in distinct}
    return patients if len(first) == len(distinct) else patients.map(spelling).astype(patients.dtype)


def spelled_as(patients: Iterable[object], others: Iterable[object]) -> list[str]:
    """Ids of one table in the spelling of another's, where they are the same patients (`patient_key`)."""
    spelling = {patient_key(other): str(other) for other in others}
    return [spelling.get(patient_key(patient), str(patient)) for patient in patients]
