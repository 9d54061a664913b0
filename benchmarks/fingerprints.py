"""How often fingerprints confuse slices of different patients, and recognise slices that were changed.

    python benchmarks/fingerprints.py DATA/lidc

The threshold is set on the slices of one half of the patients, beyond every pair of different patients there,
and verified on the other half. docs/leaks.md shows what it prints.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform, rotate

from lungvae_core.data.fingerprints import AGREEMENT, fingerprints, same_slices
from lungvae_core.data.slices import SliceSet

LEAST = 0.6  # agreements below are not listed


def windowed(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """Slices stored as 8-bit grey levels of a window, and mapped back."""
    grey = np.rint((np.clip(hu, low, high) - low) / (high - low) * 255)
    return grey / 255 * (high - low) + low


def scaled(hu: np.ndarray, by: float) -> np.ndarray:
    """Slices magnified about their middle."""
    offset = 31.5 * (1 - 1 / by)
    return np.stack(
        [affine_transform(one, [1 / by] * 2, offset=offset, order=1, mode="nearest") for one in hu]
    )


def turned(hu: np.ndarray, degrees: float) -> np.ndarray:
    return np.stack([rotate(one, degrees, reshape=False, order=1, mode="nearest") for one in hu])


def changes(generator: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What other tools do to a slice, by name."""
    return {
        "as it is": lambda hu: hu,
        "8 bits of -1000 to 400 HU": lambda hu: windowed(hu, -1000, 400),
        "8 bits of a lung window, -1350 to 150 HU": lambda hu: windowed(hu, -1350, 150),
        "8 bits of -1000 to 1300 HU (9 HU a step)": lambda hu: windowed(hu, -1000, 1300),
        "20 HU brighter": lambda hu: hu + 20,
        "noise of 5 HU": lambda hu: hu + generator.normal(0, 5, hu.shape),
        "noise of 15 HU": lambda hu: hu + generator.normal(0, 15, hu.shape),
        "moved by 1 pixel": lambda hu: np.roll(hu, (1, 0), (1, 2)),
        "moved by 2 and 2 pixels": lambda hu: np.roll(hu, (2, -2), (1, 2)),
        "mirrored": lambda hu: hu[:, :, ::-1],
        "turned by 90 degrees": lambda hu: np.rot90(hu, 1, (1, 2)),
        "mirrored, moved by 2 and 1, 8 bits": lambda hu: windowed(
            np.roll(hu[:, ::-1], (2, 1), (1, 2)), -1350, 150
        ),
        "magnified by 2 %": lambda hu: scaled(hu, 1.02),
        "magnified by 5 %": lambda hu: scaled(hu, 1.05),
        "magnified by 10 %": lambda hu: scaled(hu, 1.1),
        "turned by 2 degrees": lambda hu: turned(hu, 2),
        "turned by 5 degrees": lambda hu: turned(hu, 5),
        "8 bits of a soft tissue window, -160 to 240 HU": lambda hu: windowed(hu, -160, 240),
    }


def main() -> None:
    """Print the agreement of slices of different patients, and how many changed slices are recognised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sample", type=int, default=500, help="slices that are changed")
    chosen = parser.parse_args()
    data = SliceSet.open(chosen.data)
    patients = data.table["patient_id"].astype(str).to_numpy()
    generator = np.random.default_rng(0)
    names = generator.permutation(np.unique(patients))
    began = time.monotonic()
    stored = fingerprints(data.slices)
    print(f"{len(stored):,} fingerprints in {time.monotonic() - began:.1f} s")
    for half, owners in (("set on", names[::2]), ("verified on", names[1::2])):
        rows = np.flatnonzero(np.isin(patients, owners))
        began = time.monotonic()
        pairs = same_slices(data.slices[rows], stored[rows], agreement=LEAST)
        seconds = time.monotonic() - began
        one, other = rows[pairs["row"]], rows[pairs["other"]]
        apart = patients[one] != patients[other]
        agreement = pairs["agreement"].to_numpy()[apart]
        counts = np.unique(patients[rows], return_counts=True)[1]
        compared = (len(rows) ** 2 - (counts**2).sum()) // 2
        highest = ", ".join(f"{value:.3f}" for value in np.sort(agreement)[:-12:-2])
        print(
            f"{half} {len(owners)} patients, {len(rows):,} slices, {seconds:.0f} s: of {compared:,} pairs of "
            f"different patients {int((agreement >= AGREEMENT).sum()) // 2} agree by {AGREEMENT} or more, "
            f"{int((agreement >= LEAST).sum()) // 2} by {LEAST}; the highest {highest}"
        )
        for a, b, share in zip(one[apart], other[apart], agreement, strict=True):
            if share >= AGREEMENT and a < b:
                print(f"  {share:.3f}: row {a} of {patients[a]}, row {b} of {patients[b]}")
        same = ~apart & (one < other)
        print(
            f"  neighbours of one patient that agree: {int((pairs['agreement'][same] >= AGREEMENT).sum()):,}"
        )
    rows = np.sort(generator.choice(len(data), min(chosen.sample, len(data)), replace=False))
    hu = np.asarray(data.slices[rows]).astype(np.float32)
    for name, change in changes(generator).items():
        pairs = same_slices(np.rint(change(hu)), stored[rows])
        print(f"{name:<50} {(pairs['row'] == pairs['other']).sum() / len(rows):.1%} found again")


if __name__ == "__main__":
    main()
