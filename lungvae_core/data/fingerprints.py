"""Fingerprints: 64 bytes by which a slice is recognised under any name, without its pixels.

A fingerprint is a perceptual hash in two parts, both made of signs only:

- 16 bytes of the magnitude of the slice's Fourier transform, each frequency against the mean of its ring.
  Magnitudes do not change when a crop is moved a little, so that one comparison by popcount finds what could
  be the same slice, whichever way it was mirrored or turned.
- 48 bytes of its discrete cosine transform, as in pHash (Zauner, 2010). They confirm a candidate: the slice
  in hand is moved by up to 3 pixels, scaled by up to 4 %, mirrored and turned, and the best agreement counts.

Found again are the same slice stored as grey levels of a lung window, with noise or an offset of some HU,
cropped around another centre, mirrored or turned by a right angle. Neighbouring slices of a nodule can match
too. How often slices of different patients do: docs/leaks.md. A fingerprint holds no pixel and no HU value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from lungvae_core.data.slices import SIZE

BYTES = 64
AGREEMENT = 0.9  # share of the confirming bits from which on two slices are taken to be the same picture
_CANDIDATE = 0.75  # share of the first part's bits from which on a pair is looked at closely
_LOW, _HIGH = -1000.0, 150.0  # HU that every usual lung window shows
_FLATTEST = 10.0  # HU: a slice that varies less shows nothing to be recognised by
_COARSE, _FINE = 16, 48  # bytes of the two parts
_CORE = 56  # pixels that the second part looks at: what is left when a crop is moved by 4
_TAPER = 8  # pixels over which it fades out at its border
_SHIFTS = (-3, -2, -1, 0, 1, 2, 3)
_ROUGH, _ROUGH_AGREEMENT = (-2, 0, 2), 0.58  # a first look at fewer shifts, which most candidates fail
_SCALES = (1.0, 0.96, 1.04)
_BATCH = 128


def fingerprints(slices: np.ndarray) -> np.ndarray:
    """(N, 64) uint8 of slices (N, 64, 64) in HU; all zero for a slice without recognisable content."""
    parts = [_fingerprints(_clipped(block)) for block in _blocks(slices)]
    return np.concatenate(parts) if parts else np.empty((0, BYTES), np.uint8)


def same_slices(
    slices: np.ndarray,
    stored: np.ndarray,
    *,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    agreement: float = AGREEMENT,
) -> pd.DataFrame:
    """Which slices (N, 64, 64) in HU match a fingerprint of `stored` (M, 64) uint8.

    One row per pair: row (in slices), other (in stored), agreement (0.5 by chance, 1 the same slice).
    """
    pairs = []
    book = _Book(stored)
    done = 0
    for block in _blocks(slices):
        clipped = _clipped(block)
        pairs += [(done + row, other, share) for row, other, share in book.matches(clipped, agreement)]
        done += len(block)
        on_progress(done, len(slices))
    table = pd.DataFrame(pairs, columns=["row", "other", "agreement"])
    return table.astype({"row": int, "other": int, "agreement": float})


class _Book:
    """Stored fingerprints, laid out for comparison."""

    def __init__(self, stored: np.ndarray) -> None:
        self._rows = np.flatnonzero(stored.any(1))
        stored = stored[self._rows]
        self._coarse = _as_uint64(stored[:, :_COARSE])  # (M, 2)
        fine = np.unpackbits(stored[:, _COARSE:], axis=1)[:, : len(_dct_frequencies())].astype(bool)
        # The four ways that the first part distinguishes, each with two that it does not: (4, M, 2, 6).
        ways = ([fine[:, order] ^ flip for order, flip in two] for two in _dct_ways())
        packed = [[_as_uint64(_packed(bits, _FINE)) for bits in two] for two in ways]
        self._fine = np.array(packed).swapaxes(1, 2)

    def matches(self, clipped: np.ndarray, agreement: float) -> Iterator[tuple[int, int, float]]:
        """(row, other, agreement) of slices (N, 64, 64) that agree with a stored fingerprint."""
        candidates = self._candidates(clipped)
        candidates, _ = self._confirmed(clipped, candidates, _ROUGH, (1.0,), _ROUGH_AGREEMENT)
        candidates, shares = self._confirmed(clipped, candidates, _SHIFTS, _SCALES, agreement)
        best: dict[tuple[int, int], float] = {}
        for (_, row, other), share in zip(candidates.tolist(), shares.tolist(), strict=True):
            best[row, other] = max(best.get((row, other), 0.0), share)
        for (row, other), share in best.items():
            yield row, int(self._rows[other]), share

    def _candidates(self, clipped: np.ndarray) -> np.ndarray:
        """(P, 3) int: way, slice and stored fingerprint of the pairs whose first parts are alike."""
        coarse = _coarse_bits(clipped)
        most = round((1 - _CANDIDATE) * coarse.shape[1])  # bits that may differ
        alike = []
        for way, order in enumerate(_ring_ways()):
            bits = _as_uint64(_packed(coarse[:, order], _COARSE))
            apart = np.bitwise_count(bits[:, None, 0] ^ self._coarse[None, :, 0])
            apart += np.bitwise_count(bits[:, None, 1] ^ self._coarse[None, :, 1])
            alike.append(np.insert(np.argwhere(apart <= most), 0, way, axis=1))
        pairs = np.concatenate(alike)
        return pairs[~_flat(clipped)[pairs[:, 1]]]

    def _confirmed(
        self,
        clipped: np.ndarray,
        candidates: np.ndarray,
        shifts: Sequence[int],
        scales: Sequence[float],
        least: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The candidates whose second parts agree, moved and scaled in the best way, and how well: (Q,)."""
        order = np.argsort(candidates[:, 1], kind="stable")
        candidates, shares = candidates[order], np.zeros(len(order))
        rows, starts = np.unique(candidates[:, 1], return_index=True)
        parts = np.split(np.arange(len(order)), starts[1:])
        for part, moved in zip(parts, _moved(clipped[rows], shifts, scales), strict=False):
            way, _, other = candidates[part].T
            apart = np.bitwise_count(moved[:, None, None] ^ self._fine[way, other]).sum(-1, dtype=np.int16)
            shares[part] = 1 - apart.min((0, 2)) / len(_dct_frequencies())
        kept = shares >= least
        return candidates[kept], shares[kept]


def _fingerprints(clipped: np.ndarray) -> np.ndarray:
    middle = _transform(0.0, 1.0)
    fine = _signs(middle @ clipped @ middle.T)
    whole = np.concatenate([_packed(_coarse_bits(clipped), _COARSE), _packed(fine, _FINE)], axis=1)
    whole[_flat(clipped)] = 0
    return whole


def _moved(clipped: np.ndarray, shifts: Sequence[int], scales: Sequence[float]) -> Iterator[np.ndarray]:
    """The second part of each slice, moved and scaled in every way: (scales x shifts x shifts, 6) uint64."""
    for start in range(0, len(clipped), _BATCH):
        block, parts = clipped[start : start + _BATCH], []
        for scale in scales:
            rows = np.concatenate([_transform(float(shift), scale) for shift in shifts])  # (shifts x K, 64)
            shape = (len(shifts), len(rows) // len(shifts))
            both = (rows @ block @ rows.T).reshape(len(block), *shape, *shape).transpose(0, 1, 3, 2, 4)
            signs = _signs(both.reshape(-1, shape[1], shape[1]))
            parts.append(_as_uint64(_packed(signs, _FINE)).reshape(len(block), len(shifts) ** 2, -1))
        yield from np.concatenate(parts, axis=1)


def _signs(coefficients: np.ndarray) -> np.ndarray:
    """(N, B) bool of transforms (N, K + 1, K + 1), whose last row and column are the window's mean."""
    u, v = _dct_frequencies().T
    of_window = _transform(0.0, 1.0).sum(1)[:-1]
    # The window is not flat, so that a slice's mean would leak into the low frequencies.
    mean = coefficients[:, -1:, -1:]
    return (coefficients[:, :-1, :-1] - mean * of_window[:, None] * of_window)[:, u, v] > 0


@lru_cache(maxsize=64)
def _transform(shift: float, scale: float) -> np.ndarray:
    """(K + 1, 64) float32: resampling, window and cosine transform of an axis; the last row is the mean."""
    at = (SIZE - 1) / 2 + shift + (np.arange(_CORE) - (_CORE - 1) / 2) * scale
    at = np.clip(at, 0, SIZE - 1)
    left = np.minimum(at.astype(int), SIZE - 2)
    resample = np.zeros((_CORE, SIZE))
    resample[np.arange(_CORE), left] = 1 - (at - left)
    resample[np.arange(_CORE), left + 1] = at - left
    window = np.ones(_CORE)
    window[:_TAPER] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_TAPER) + 0.5) / _TAPER)
    window[-_TAPER:] = window[:_TAPER][::-1]
    frequencies = np.arange(_dct_frequencies().max() + 1)
    cosine = np.cos(np.pi * np.outer(frequencies, np.arange(_CORE) + 0.5) / _CORE)
    rows = np.concatenate([cosine * window, window[None] / window.sum()])
    return (rows @ resample).astype(np.float32)


@lru_cache(maxsize=1)
def _dct_frequencies() -> np.ndarray:
    """(B, 2) int: the frequencies of the second part, lowest first; with (u, v) there is (v, u)."""
    u, v = np.mgrid[:32, :32].reshape(2, -1)
    square = u**2 + v**2
    order = np.lexsort((u, square))
    most = square[order][_FINE * 8]  # whole rings only
    return np.stack([u, v], axis=1)[order][(square[order] > 0) & (square[order] < most)]


@lru_cache(maxsize=1)
def _dct_ways() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For each of `_ring_ways` the two ways to lay a square: where a bit is taken from, whether it flips."""
    frequencies = _dct_frequencies()
    index = {(u, v): at for at, (u, v) in enumerate(frequencies.tolist())}
    same, turned = np.arange(len(index)), np.array([index[v, u] for u, v in frequencies.tolist()])
    odd_u, odd_v = (frequencies % 2 == 1).T
    half_turn, mirrored = (np.zeros_like(odd_u), odd_u ^ odd_v), (odd_u, odd_v)
    return [[(order, flip) for flip in flips] for order in (same, turned) for flips in (half_turn, mirrored)]


def _coarse_bits(clipped: np.ndarray) -> np.ndarray:
    """(N, C) bool: which magnitudes of the Fourier transform are above the mean of their ring."""
    u, v, ring = _ring_frequencies()
    window = np.sin(np.pi * (np.arange(SIZE) + 0.5) / SIZE) ** 2
    window = (window / window.sum()).astype(np.float32)
    mean = (clipped * window[:, None] * window).sum((1, 2))
    spectrum = np.fft.rfft2((clipped - mean[:, None, None]) * window[:, None] * window)
    magnitude = np.log(np.abs(spectrum[:, u, v]) + 1.0)
    means = np.stack([magnitude[:, ring == one].mean(1) for one in range(ring.max() + 1)], axis=1)
    return magnitude > means[:, ring]


@lru_cache(maxsize=1)
def _ring_frequencies() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u, v, ring): half of the plane within 9 of its middle, which holds all of a real transform."""
    u, v = np.mgrid[-9:10, 0:10].reshape(2, -1)
    kept = (u**2 + v**2 <= 81) & ((v > 0) | (u > 0))
    ring = np.rint(np.hypot(u, v)).astype(int)[kept] - 1
    return u[kept], v[kept], ring


@lru_cache(maxsize=1)
def _ring_ways() -> list[np.ndarray]:
    """The four orders of the first part's bits that mirroring and turning give; half a turn changes none.

    In this order: as it is, mirrored, its axes exchanged, turned by a quarter.
    """
    u, v, _ = (each.tolist() for each in _ring_frequencies())
    index = {}
    for at, (one, other) in enumerate(zip(u, v, strict=True)):
        index[one, other] = index[-one, -other] = at
    return [
        np.array([index[way(one, other)] for one, other in zip(u, v, strict=True)])
        for way in (lambda a, b: (a, b), lambda a, b: (-a, b), lambda a, b: (b, a), lambda a, b: (-b, a))
    ]


def _blocks(slices: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(slices), _BATCH):
        yield np.asarray(slices[start : start + _BATCH])


def _clipped(slices: np.ndarray) -> np.ndarray:
    return np.clip(slices.astype(np.float32), _LOW, _HIGH)


def _flat(clipped: np.ndarray) -> np.ndarray:
    return clipped.std((1, 2)) < _FLATTEST


def _packed(bits: np.ndarray, size: int) -> np.ndarray:
    """(N, size) uint8 of bits (N, B); what is left over is zero."""
    tight = np.packbits(bits, axis=1)
    return np.pad(tight, ((0, 0), (0, size - tight.shape[1])))


def _as_uint64(packed: np.ndarray) -> np.ndarray:
    """(N, bytes / 8) uint64, for popcount."""
    return np.ascontiguousarray(packed).view(np.uint64)
