"""Numbers become HU only with evidence: from the file, or a range from the user.

Limits are physical, not fitted. Air is -1000 HU and water 0 by definition; 12-bit scanners store -1024 to
3071, extended scales go up to 30,000 in metal, and padding outside the field of view is one value, such as
-2000, -2048, -3024 or -32768. Padding and metal stay what they are; a model's window clips them.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np

from lungvae_core.errors import UserError

LEAST, MOST = -2048, 4095  # HU beyond which only padding and metal lie
AIR, TISSUE = -200.0, -700.0  # a slice has something below the first, and above the second (ground glass)
LEAST_SPAN = 50.0  # HU between the least and the greatest of a slice; noise alone has more
MOST_METAL, MOST_ODD = 0.1, 0.02  # shares of the pixels above MOST, and below LEAST but for one padding value
BONE, MOST_BONE = 700.0, 0.5  # HU denser than nearly all bone; a share that only inverted numbers have of it
_BELOW_AIR = -1100.0  # what is lower is padding, not air with noise
STATE = "State the HU range that {} stand for (hu_low and hu_high)."


def to_hu(
    levels: np.ndarray, where: str, *, hu_range: tuple[float, float] | None = None, white: float | None = None
) -> np.ndarray:
    """int16 HU of a slice's or stack's numbers.

    `hu_range` says which HU black and white stand for; `white` is a picture's level of white, None where the
    file holds plain numbers. Raises UserError for a range that is missing, empty or not needed, and for
    numbers that cannot be HU.
    """
    check_numbers(levels, where)
    if hu_range is None:
        if white is not None:
            raise UserError(
                f"{where} holds grey levels, not HU. {STATE.format('black and white')[:-1]}, for example "
                "-1000 and 400."
            )
        hu = as_int16(levels)
        reason = why_not_hu(levels)
    else:
        low, high = check_range(*hu_range)
        top = _white(levels, where) if white is None else _picture_white(levels, white, where)
        hu = as_int16(low + levels.astype(np.float64) * (high - low) / top)
        reason = why_not_hu(hu, stated=True)
    if reason:
        raise UserError(f"{where} holds {reason}")
    return hu


def check_range(low: float | None, high: float | None) -> tuple[float, float]:
    """The HU of black and white; UserError where one is missing, not a number or not below the other."""
    if low is None or high is None:
        raise UserError("State the HU range with both its ends: it needs both hu_low and hu_high.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"The HU range {low:g} to {high:g} is empty; give the lower value first.")
    if low < -32768 or high > 32767:
        raise UserError(f"The HU range {low:g} to {high:g} is beyond what HU can be.")
    return low, high


def check_numbers(levels: np.ndarray, where: str) -> None:
    """UserError for anything but real numbers: text, objects, complex, NaN and infinity."""
    if levels.dtype.kind not in "iuf":
        raise UserError(f"{where} holds {levels.dtype}, not numbers of grey values.")
    if levels.size == 0:
        raise UserError(f"{where} holds no pixels.")
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise UserError(f"{where} holds values that are not numbers (NaN or infinite).")


@dataclass
class _Span:
    """What a slice's or stack's numbers span."""

    low: float
    high: float
    least: float  # of what is not padding; infinite where all is
    odd: float  # share of what lies below LEAST and is not the slice's one padding value
    metal: float  # share of what lies above MOST
    dense: float  # share of what lies above BONE

    @staticmethod
    def of(levels: np.ndarray) -> _Span:
        low, high = float(levels.min()), float(levels.max())
        least = low if low > _BELOW_AIR else math.inf
        if low <= _BELOW_AIR < high:
            least = float(levels.min(where=levels > _BELOW_AIR, initial=high))
        odd = float(((levels < LEAST) & (levels != levels.min())).mean()) if low < LEAST else 0.0
        metal = float((levels > MOST).mean()) if high > MOST else 0.0
        return _Span(low, high, least, odd, metal, float((levels > BONE).mean()) if high > BONE else 0.0)

    @staticmethod
    def together(spans: list[_Span]) -> _Span:
        low, high, least, *shares = zip(*map(astuple, spans), strict=True)
        return _Span(min(low), max(high), min(least), *(sum(share) / len(spans) for share in shares))


def why_not_hu(levels: np.ndarray, *, stated: bool = False) -> str:
    """Why the numbers of a slice or stack cannot be HU, as the end of "it holds ..."; "" where they can.

    `levels` (rows, columns) or (slices, rows, columns). `stated`: the user gave the range, so only what no
    range explains is checked. A slice of a stack may be blank, but not all of them.
    """
    spans = [_Span.of(one) for one in (levels if levels.ndim == 3 else levels[None])]
    whole = _Span.together(spans)
    low, high = whole.low, whole.high
    if levels.dtype == np.uint8 and not stated:
        return f"8-bit grey levels ({low:g} to {high:g}). {STATE.format('0 to 255')}"
    if low == high:
        return f"{low:g} in every pixel: neither air nor tissue. Check that it is the right file."
    if stated:
        spans_enough = high - low >= LEAST_SPAN
        return "" if spans_enough else f"no more than {low:g} to {high:g} HU by that range. Check it."
    if low >= 0 and high <= 255 and levels.dtype.kind != "f":
        return f"8-bit grey levels ({low:g} to {high:g}). {STATE.format('0 to 255')}"
    if low >= -1 and high <= 1:
        between = "0 and 1" if low >= 0 else "-1 and 1"
        return f"values between {between}, which are not HU. {STATE.format('they')}"
    if levels.dtype.kind == "u" and high > np.iinfo(np.int16).max:
        return (
            f"values up to {high:g}: negative HU that were saved as unsigned numbers, or grey levels of 16 "
            "bits. Save HU as int16."
        )
    for number, span in enumerate(spans):
        if 0 < span.high - span.low < LEAST_SPAN:
            at = f" in slice {number}" if len(spans) > 1 else ""
            return (
                f"values from {span.low:g} to {span.high:g}{at}, which are not HU: they are normalised or "
                "scaled. Save HU as int16."
            )
    return _why_not_ct(whole)


def _why_not_ct(span: _Span) -> str:
    """Why numbers in HU's range are no CT; "" if they can be."""
    if span.odd > MOST_ODD:
        return (
            f"values down to {span.low:g} in {span.odd:.0%} of its pixels, which are not HU. Check its "
            "scale and type."
        )
    if span.metal > MOST_METAL:
        return f"values above {MOST} in {span.metal:.0%} of its pixels, which are not HU. Check its scale."
    if span.least >= 0:
        return (
            f"nothing below 0 (values from {span.least:g} to {span.high:g}), but lung and air are -500 to "
            "-1000 HU. Subtract the scanner's offset, mostly 1024, or state the HU range of grey levels."
        )
    if span.least > AIR:
        return (
            f"nothing below {span.least:g}: neither lung nor air, so that these are not HU. Check its scale."
        )
    if span.dense > MOST_BONE:
        return (
            f"values above {BONE:g}, denser than bone, in {span.dense:.0%} of its pixels: they are inverted."
        )
    if span.high < TISSUE:
        return f"nothing above {span.high:g}: no tissue, so that these are not HU. Check its scale."
    return ""


def _white(levels: np.ndarray, where: str) -> float:
    """The level of white that an array's type stands for."""
    low, high = float(levels.min()), float(levels.max())
    if levels.dtype.kind == "f" and low >= 0 and high <= 1:
        return 1.0
    if levels.dtype in (np.uint8, np.uint16):
        return _picture_white(levels, float(np.iinfo(levels.dtype).max), where)
    raise UserError(
        f"{where} holds numbers from {low:g} to {high:g} ({levels.dtype}), not grey levels, so that a HU "
        "range has no meaning for it. Leave the range out if they are HU; save grey levels as uint8, uint16 "
        "or floats from 0 to 1."
    )


def _picture_white(levels: np.ndarray, white: float, where: str) -> float:
    high = float(levels.max())
    if white > 4095 and high <= 4095:
        raise UserError(
            f"{where} holds grey levels up to {high:g} in 16 bits, whose white is {white:g}: they are levels "
            "of fewer bits. Save them over the whole range, or as HU in an npy."
        )
    return white


def as_int16(hu: np.ndarray) -> np.ndarray:
    """HU rounded to int16; scanners' padding, such as -2000, stays unchanged."""
    if hu.dtype == np.int16:
        return np.asarray(hu)
    limits = np.iinfo(np.int16)
    whole = np.rint(hu) if hu.dtype.kind == "f" else hu
    return np.clip(whole, limits.min, limits.max).astype(np.int16)
