"""One stack of a series: last decimals do not part it, phases and reconstructions never mix, all is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lungvae_core.data.series import read_series
from lungvae_core.errors import UserError
from tests.made_volumes import CORNER, GAP, Files, chest, slice_file

STACK = chest(6)


def place(number: float) -> list[float]:
    return [CORNER[0], CORNER[1], CORNER[2] + GAP * number]


def series(hu: np.ndarray = STACK, prefix: str = "", **elements: Callable[[int], Any]) -> Files:
    """A file a slice; `elements` give each slice's own value."""
    files = []
    for number, image in enumerate(hu):
        own = {
            "SOPInstanceUID": f"1.2.3{prefix and len(prefix)}.{number}",
            "InstanceNumber": number + 1,
            "ImagePositionPatient": place(number),
        }
        own |= {keyword: value(number) for keyword, value in elements.items()}
        files.append((f"{prefix}{number}.dcm", slice_file(image, **own)))
    return files


def always(value: Any) -> Callable[[int], Any]:
    return lambda _number: value


def tilted(number: int) -> list[float]:
    """18.2 degrees, where the last decimals lie around a rounding border."""
    y = 0.95 + 2e-7 * (-1) ** number
    return [1, 0, 0, 0, round(y, 8), round(-float(np.sqrt(1 - y * y)), 8)]


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageOrientationPatient": tilted},
        {"PixelSpacing": lambda number: ["0.70312", "0.70312"] if number == 0 else ["0.703125", "0.703125"]},
        {
            "ImagePositionPatient": lambda number: [
                CORNER[0] + 1e-4 * number,
                CORNER[1],
                place(number)[2] - 1e-4,
            ]
        },
        {"SliceThickness": lambda number: "2.5" if number % 2 else "2.500001"},
        {"AcquisitionNumber": lambda number: 1 + number // 3},
        {"AcquisitionNumber": lambda number: number},
        {"AcquisitionTime": lambda number: f"12000{number}"},
        {"SOPInstanceUID": always("1.2.3")},
    ],
)
def test_one_stack_stays_one(elements: dict) -> None:
    stack = read_series(series(**elements))
    np.testing.assert_array_equal(stack.hu, STACK)
    assert not any("left out" in note for note in stack.notes)


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        ({"AcquisitionNumber": always(2)}, "acquisition"),
        ({"AcquisitionNumber": always(2), "ImagePositionPatient": lambda n: place(n + 0.5)}, "acquisition"),
        ({"TemporalPositionIdentifier": always(2)}, "phase"),
        ({"ConvolutionKernel": always("B70f")}, "kernel"),
        ({"ImageType": always(["DERIVED", "SECONDARY", "AXIAL", "MIP"])}, "image type"),
        ({"ContrastBolusAgent": always("IV")}, "contrast agent"),
        ({"KVP": always("80")}, "tube voltage"),
        ({"SliceThickness": always("5")}, "slice thickness"),
        ({"FrameOfReferenceUID": always("1.9")}, "frame of reference"),
        ({"ImageOrientationPatient": always([-1, 0, 0, 0, 1, 0])}, "orientation"),
        ({"PixelSpacing": always([0.9, 0.9])}, "pixel spacing"),
    ],
)
def test_two_stacks_of_one_series_never_mix(elements: dict, says: str) -> None:
    other = series(STACK[:4] + np.int16(80), prefix="other", **elements)
    stack = read_series([*other, *series()])
    np.testing.assert_array_equal(stack.hu, STACK)
    (note,) = [note for note in stack.notes if "not mixed" in note]
    assert says in note
    assert "6 slices are shown, 4 left out" in note


@pytest.mark.parametrize("number", [lambda n: n + 7, lambda n: 2 * n + 2], ids=["one by one", "by turns"])
def test_repeats_that_no_header_distinguishes_follow_their_numbers(
    number: Callable[[int], int],
) -> None:
    first = series(InstanceNumber=lambda n: number(n) - (6 if number(0) == 7 else 1))
    stack = read_series([*first, *series(STACK + np.int16(80), prefix="other", InstanceNumber=number)])
    np.testing.assert_array_equal(stack.hu, STACK)
    assert "6 slices at the place of another left out" in stack.notes[0]


def test_a_mixture_that_nothing_tells_apart_is_refused() -> None:
    part = series(STACK[:4] + np.int16(80), prefix="other", InstanceNumber=lambda number: number + 7)
    with pytest.raises(UserError, match="4 of the series' 10 slices"):
        read_series([*series(), *part])


def test_copies_of_a_file_count_once() -> None:
    stack = read_series([*series(), *((f"copy of {name}", content) for name, content in series())])
    np.testing.assert_array_equal(stack.hu, STACK)
    assert stack.notes == ("6 copies of the same file left out.",)


def test_what_is_no_slice_is_counted_by_kind() -> None:
    scout = slice_file(STACK[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    stack = read_series([*series(), ("scout", scout), ("notes.txt", b"hello")])
    assert stack.notes == ("2 files that are no CT slice left out (overview: 1, not DICOM: 1).",)


def test_loss_is_said() -> None:
    stack = read_series(series(LossyImageCompression=always("01")))
    assert "6 slices compressed with loss" in stack.notes[0]
