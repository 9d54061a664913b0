"""What a run was trained on: patients by their ids, and slices by their pixels.

Ids are not reliable: one patient is LIDC-IDRI-0002 here and 2 there. So a run stores a fingerprint of every
slice that it was trained on or has encoded (`data.fingerprints`), and slices are compared with these as well.
Generated slices are excluded: a generator draws similar ones, and they show no patient.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungvae_core.data.columns import patient_key
from lungvae_core.data.fingerprints import BYTES, fingerprints, same_slices
from lungvae_core.data.slices import KEY, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import FINGERPRINTS, Run

Seen = Literal["refuse", "include", "leave_out"]
_COLUMNS = [*KEY, "fingerprint", "same_as", "data"]


@dataclass(frozen=True)
class Learned:
    """Patients of other data that a run was trained on."""

    by_id: frozenset[str]
    by_pixels: dict[str, str]  # patient of the data, to one of the run's own with the same slice
    slices: int  # of the data that are the same pictures as slices that the run has learned from
    compared: bool  # whether the run has fingerprints; else patients are recognised by their ids alone

    @property
    def patients(self) -> frozenset[str]:
        return self.by_id | set(self.by_pixels)

    def in_words(self) -> str:
        """How they were recognised, and what could not be compared."""
        if not self.compared:
            return "by their ids; the model has no fingerprints of its slices, so pixels were not compared"
        if not self.by_pixels:
            return "by their ids; no slice is the same picture as one that it has learned from"
        other = sorted(set(self.by_pixels) - self.by_id) or sorted(self.by_pixels)
        return (
            f"{len(self.by_id):,} by their ids, {len(self.by_pixels):,} by their pixels: "
            f"{self.slices:,} slices are the same pictures as slices that it has learned from, as those of "
            f"{other[0]} and of its {self.by_pixels[other[0]]}"
        )


def remember(run: Run, data: SliceSet) -> None:
    """Store the fingerprints of the data's slices in the run, beside those of its training slices.

    Each row also says whether another patient of the data has the same slice.
    """
    earlier = _stored(run)
    if earlier is not None and (earlier["data"] == data.info.content_hash).sum() == len(data):
        return
    rows = data.table[KEY].assign(
        patient_id=_patients(data),
        fingerprint=[one.tobytes() for one in fingerprints(data.slices)],
        same_as=shared_with(data).to_numpy(),
        data=data.info.content_hash,
    )
    if earlier is not None and run.info.data.content_hash != data.info.content_hash:
        rows = pd.concat([earlier[earlier["data"] == run.info.data.content_hash], rows], ignore_index=True)
    run.write_table(FINGERPRINTS, rows[_COLUMNS].reset_index(drop=True))


def shared_with(data: SliceSet) -> pd.Series:
    """(N,) for each slice of the data a patient that has the same slice under another id, or NA."""
    same_as = np.full(len(data), None, dtype=object)
    if not data.info.generated:
        patients = _patients(data)
        pairs = same_slices(data.slices, fingerprints(data.slices))
        pairs = pairs[patients[pairs["row"]] != patients[pairs["other"]]]
        ends = np.sort(pairs[["row", "other"]].to_numpy(), axis=1)
        pairs = pairs.assign(row=ends[:, 0], other=ends[:, 1]).sort_values("agreement", ascending=False)
        pairs = pairs.drop_duplicates(["row", "other"])  # each comes twice
        same_as[pairs["row"]] = patients[pairs["other"]]
        same_as[pairs["other"]] = patients[pairs["row"]]
    return pd.Series(same_as, dtype="string")


def _patients(data: SliceSet) -> np.ndarray:
    return data.table["patient_id"].astype(str).to_numpy()


def learned(run: Run, data: SliceSet, trained: Collection[str]) -> Learned:
    """Which patients of `data` are among `trained`, the run's own, by their ids and their pixels."""
    patients = _patients(data)
    keys = {patient_key(one) for one in trained}
    by_id = frozenset(one for one in set(patients) if patient_key(one) in keys)
    stored = _stored(run)
    if stored is None or data.info.generated:
        return Learned(by_id, {}, 0, compared=stored is not None)
    stored = stored[stored["patient_id"].map(patient_key).isin(keys)]
    pairs = same_slices(data.slices, _unpacked(stored))
    owners = stored["patient_id"].to_numpy()
    best = pairs.sort_values("agreement").drop_duplicates("row", keep="last")
    by_pixels = dict(zip(patients[best["row"]], owners[best["other"]], strict=True))
    return Learned(by_id, by_pixels, len(best), compared=True)


def same_in_run(run: Run, table: pd.DataFrame) -> pd.Series | None:
    """(N,) for each row of the run's encoded table, a patient with the same slice under another id, or NA.

    None where the run has no fingerprints.
    """
    stored = _stored(run)
    if stored is None:
        return None
    stored = stored.drop_duplicates(KEY, keep="last")
    keys = table[KEY].assign(patient_id=table["patient_id"].astype(str))
    return keys.merge(stored[[*KEY, "same_as"]], on=KEY, how="left")["same_as"]


def recognised(run: Run, hu: np.ndarray) -> dict[str, Any] | None:
    """The key of a slice of the run's own data that matches one of hu (N, 64, 64), or None."""
    stored = _stored(run)
    if stored is None:
        return None
    stored = stored[stored["data"] == run.info.data.content_hash]
    pairs = same_slices(hu, _unpacked(stored))
    if pairs.empty:
        return None
    return dict(stored[KEY].iloc[int(pairs["other"].iloc[int(pairs["agreement"].argmax())])])


def keep_apart(
    patients: pd.Series, same_as: pd.Series | None, seen: Seen, *, where: str
) -> tuple[np.ndarray, list[str]]:
    """(whether each row (N,) is kept, the leaks that remain) where patients share images.

    `same_as` (N,) names a patient with the same slice, or is NA; None where pixels cannot be compared.
    "leave_out" keeps the first of the patients that share images. "refuse" raises UserError if any do.
    """
    everything = np.ones(len(patients), bool)
    if same_as is None or not same_as.notna().any():
        return everything, []
    shared = same_as.notna().to_numpy()
    names = patients.astype(str).to_numpy()
    first, other = names[shared][0], str(same_as[shared].iloc[0])
    sentence = (
        f"{int(shared.sum()):,} of the {len(names):,} slices of {where} are the same pictures as slices of "
        f"another patient, as those of {first} and {other}"
    )
    if seen == "refuse":
        raise UserError(
            f"{sentence}: folds by patient would have them on both sides. If these are one person, give them "
            "one patient_id; or leave out the patients that repeat others with --leave-out-seen; or go on "
            "with --include-seen, which the report calls a leak. `lungvae leaks` lists them."
        )
    if seen == "include":
        return everything, [f"{sentence}."]
    return ~np.isin(names, sorted(_repeating(names[shared], same_as[shared].astype(str).to_numpy()))), []


def _repeating(one: np.ndarray, other: np.ndarray) -> set[str]:
    """All patients but the first of every group that shares pictures."""
    names, ends = np.unique(np.concatenate((one, other)), return_inverse=True)
    links = coo_array((np.ones(len(one)), ends.reshape(2, -1)), (len(names), len(names)))
    _, group = connected_components(links, directed=False)
    return set(np.delete(names, np.unique(group, return_index=True)[1]).tolist())


def _stored(run: Run) -> pd.DataFrame | None:
    hint = "Make it again with `lungvae encode`."
    return run.read_table(FINGERPRINTS, hint=hint) if run.has(FINGERPRINTS) else None


def _unpacked(stored: pd.DataFrame) -> np.ndarray:
    """(M, 64) uint8."""
    return np.frombuffer(b"".join(stored["fingerprint"]), np.uint8).reshape(-1, BYTES)
