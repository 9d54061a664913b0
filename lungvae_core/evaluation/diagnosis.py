"""Opinion and diagnosis: how well model, readers and size rank patients by what was confirmed in the end.

Labels of malignancy are what readers suspected on CT. Where a table has the confirmed diagnosis of some
patients (`data.diagnoses`), the same patients are ranked by the model, by the readers' own malignancy and by
size, and judged against both. The file of LIDC-IDRI does not say which nodule its numbers mean, so that a
patient has the highest score among their nodules; patients with one nodule stand apart, since of them it is
known which nodule the diagnosis is of. So few patients give wide intervals: that is the finding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.diagnoses import BENIGN, METASTATIC, PRIMARY, Diagnoses, read_diagnoses
from lungvae_core.data.labels import labels, reader_mean
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import NODULE, available, sizes
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.statistics.roc import auc_interval

TITLES = {
    "model": "the model",
    "readers_mean": "the readers' malignancy, mean",
    "readers_median": "the readers' malignancy, median",
    "diameter": "the readers' diameter",
    "area": "the outline's largest area",
}


def read_confirmed(path: Path, table: pd.DataFrame, protocol: str) -> Diagnoses:
    """A table of diagnoses for an evaluation of the data's `table`, checked before anything is trained.

    Raises UserError for a protocol that leaks, a table that cannot be used, and data of other patients.
    """
    if PROTOCOLS[protocol].leaks:
        raise UserError("A table of diagnoses belongs to the protocols that do not leak: nested and frozen.")
    diagnoses = read_diagnoses(path)
    check_known(table, diagnoses)
    return diagnoses


def check_known(table: pd.DataFrame, diagnoses: Diagnoses) -> None:
    """Raise UserError unless the data's patients have diagnoses of both classes."""
    kinds = diagnoses.of(table["patient_id"].drop_duplicates()).dropna()
    malignant = int((kinds != BENIGN).sum())
    if malignant in (0, len(kinds)):
        raise UserError(
            f"{diagnoses.source} knows {len(kinds) - malignant} benign and {malignant} malignant diagnoses "
            "of patients of these data; both are needed. Are the patient_ids those of the data set?"
        )


def against_diagnosis(
    nodules: pd.DataFrame,
    table: pd.DataFrame,
    diagnoses: Diagnoses,
    *,
    label_rule: str = "median_high",
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The report's section `diagnosis`; None where not both classes are among the patients that were scored.

    `nodules` has a row a judged nodule: patient_id, nodule and the model's logit, made without the patient's
    label. `table` has a row a slice of the whole data set, by which a patient's nodules are counted.
    """
    frame = _scored(nodules, table, label_rule)
    frame["kind"] = diagnoses.of(frame["patient_id"])
    frame = frame[frame["kind"].notna()].reset_index(drop=True)
    truth = (frame["kind"] != BENIGN).to_numpy(int)
    if not 0 < truth.sum() < len(truth):
        return None
    names = [name for name in TITLES if name in frame]
    count = table.groupby("patient_id")["nodule"].nunique()
    single = frame["patient_id"].map(count.rename(index=str)).to_numpy() == 1
    return {
        "source": diagnoses.source,
        "diagnosed": len(diagnoses.kinds),
        "unknown": diagnoses.unknown,
        "benign": int((frame["kind"] == BENIGN).sum()),
        "primary": int((frame["kind"] == PRIMARY).sum()),
        "metastatic": int((frame["kind"] == METASTATIC).sum()),
        "groups": [
            _group(name, frame[rows].reset_index(drop=True), names, resamples, seed)
            for name, rows in (("all", np.ones(len(frame), bool)), ("one_nodule", single))
        ],
    }


def _scored(nodules: pd.DataFrame, table: pd.DataFrame, label_rule: str) -> pd.DataFrame:
    """A row a patient: opinion (1 where a nodule is malignant by the label rule), and the highest scores."""
    slices = table[NODULE].assign(patient_id=table["patient_id"].astype(str))
    slices["opinion"] = labels(table, "mvr", label_rule)
    slices["readers_median"] = table["malignancy"].to_numpy(dtype=float, na_value=np.nan)
    if "malignancy_all" in table:
        slices["readers_mean"] = reader_mean(table, "malignancy")
    for name in ("diameter", "area"):
        if name in available(table):
            slices[name] = sizes(name, table)
    of_nodule = slices.groupby(NODULE, as_index=False).max()
    model = nodules[[*NODULE, "logit"]].rename(columns={"logit": "model"})
    model["patient_id"] = model["patient_id"].astype(str)
    both = of_nodule.merge(model, on=NODULE, validate="one_to_one").dropna()
    return both.drop(columns="nodule").groupby("patient_id", as_index=False).max()


def _group(name: str, frame: pd.DataFrame, scores: list[str], resamples: int, seed: int) -> dict[str, Any]:
    truth = (frame["kind"] != BENIGN).to_numpy(int)
    opinion = frame["opinion"].to_numpy(int)

    def area(labelled: np.ndarray, score: str) -> dict[str, float]:
        return auc_interval(
            labelled,
            frame[score].to_numpy(float),
            frame["patient_id"].to_numpy(),
            resamples=resamples,
            seed=seed,
        )

    return {
        "group": name,
        "patients": len(frame),
        "malignant": int(truth.sum()),
        "opinion_malignant": int(opinion.sum()),
        "agree": int((truth == opinion).sum()),
        "scores": [
            {
                "name": score,
                "title": TITLES[score],
                "diagnosis": area(truth, score),
                # The readers' own rating is what the opinion is made of: it would be judged by itself.
                "opinion": None if score.startswith("readers") else area(opinion, score),
            }
            for score in scores
        ],
    }
