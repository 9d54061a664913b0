"""Opinion and diagnosis: how well model, readers and size rank patients by their confirmed diagnosis.

Labels of malignancy are what readers suspected on CT. If a table has the confirmed diagnosis of some patients
(`data.diagnoses`), the same patients are ranked by the model, by the readers' malignancy and by size, and
judged against both. The LIDC-IDRI file does not say which nodule a diagnosis belongs to, so a patient gets
the highest score among their nodules. Patients with a single nodule are also reported separately, since their
diagnosis must belong to that nodule. With so few patients the intervals are wide: that is the finding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import NODULE
from lungvae_core.data.diagnoses import BENIGN, METASTATIC, PRIMARY, Diagnoses, read_diagnoses
from lungvae_core.data.labels import labels, reader_mean
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import available, sizes
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
    """Read diagnoses for an evaluation of the data's `table` and check them before anything is trained.

    Raises UserError for a protocol that leaks, an unusable table of diagnoses, or data of other patients.
    """
    if PROTOCOLS[protocol].leaks:
        raise UserError("A table of diagnoses belongs to the protocols that do not leak: nested and frozen.")
    diagnoses = read_diagnoses(path)
    check_diagnoses(table, diagnoses)
    return diagnoses


def check_diagnoses(table: pd.DataFrame, diagnoses: Diagnoses) -> None:
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
    """The report's section `diagnosis`; None if the scored patients lack one of the classes.

    `nodules` has one row per judged nodule: patient_id, nodule and the model's logit, computed without the
    patient's label. `table` has one row per slice of the whole data set and serves to count a patient's
    nodules.
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
            _group(name, frame[rows], names, resamples, seed)
            for name, rows in (("all", np.ones(len(frame), bool)), ("one_nodule", single))
        ],
    }


def _scored(nodules: pd.DataFrame, table: pd.DataFrame, label_rule: str) -> pd.DataFrame:
    """One row per patient: opinion (1 if a nodule is malignant by the label rule) and the highest scores."""
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
        scores, patients = frame[score].to_numpy(float), frame["patient_id"].to_numpy()
        return auc_interval(labelled, scores, patients, resamples=resamples, seed=seed)

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
                # The opinion is computed from the readers' own rating, which would be judged against itself.
                "opinion": None if score.startswith("readers") else area(opinion, score),
            }
            for score in scores
        ],
    }
