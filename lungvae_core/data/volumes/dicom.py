"""CT slices from DICOM files, in HU, each checked first.

What is read is a single-frame CT Image (DICOM PS3.3, A.3) whose stored values become HU by the slope and
intercept of its Modality LUT (C.11.1).
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lungvae_core.data.volumes.grid import Grid, check_square
from lungvae_core.data.volumes.volume import MOST_SIDE
from lungvae_core.errors import UserError
from lungvae_core.quiet import silence

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
_META = b"\x02\0"  # the group of the file meta information
_DEFLATED = b"1.2.840.10008.1.2.1.99"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"  # RT Structure Set
DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR
_STORAGE = "1.2.840.10008.5.1.4.1.1."  # how the UID of every kind of stored image begins
_MOST_BARE = 64 * 2**20  # bytes of a file without a preamble, which is read whole to prove itself
# Elements that separate the stacks of one series: all slices of a stack have the same value.
FACTORS = {
    "StudyInstanceUID": "study",
    "FrameOfReferenceUID": "frame of reference",
    "ImageType": "image type",
    "ConvolutionKernel": "kernel",
    "SliceThickness": "slice thickness",
    "ContrastBolusAgent": "contrast agent",
    "KVP": "tube voltage",
    "FilterType": "filter",
    "EchoTime": "echo time",
    "StackID": "stack",
    "PatientPosition": "patient position",
}
# Elements that may vary within a stack, and separate two stacks only where these overlap.
PHASES = {
    "TemporalPositionIdentifier": "phase",
    "TemporalPositionIndex": "phase",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "TriggerTime": "trigger time",
    "AcquisitionNumber": "acquisition",
    "IrradiationEventUID": "irradiation event",
    "ScanOptions": "scan options",
    "AcquisitionTime": "acquisition time",
}
# What names a patient, in words. The patient's id is not among them: research data have one, too.
_NAMING = {
    "PatientName": "the patient's name",
    "PatientBirthDate": "the date of birth",
    "PatientAddress": "an address",
    "PatientTelephoneNumbers": "a telephone number",
    "OtherPatientIDs": "other ids of the patient",
    "OtherPatientNames": "other names of the patient",
    "PatientMotherBirthName": "the mother's name",
}
_HEADER_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "SeriesInstanceUID", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "BurnedInAnnotation"),
    *(*FACTORS, *PHASES, *_NAMING),
]
_NO_NAME = re.compile(r"anon|de-?id|removed|unknown|phantom|test|^[\W_0-9^]*$", re.IGNORECASE)

Source = str | Path | BinaryIO


class NotDicom(UserError):
    """The file is no DICOM at all."""


@dataclass(frozen=True)
class Header:
    """What identifies a DICOM file. Empty or None where the file does not say."""

    sop_class: str
    sop_uid: str
    modality: str  # CT, MR, DX, SEG and so on
    patient_id: str
    series_uid: str
    instance: int | None  # number within the series
    z_mm: float | None  # third value of Image Position (Patient)
    position_mm: tuple[float, float, float] | None = None  # Image Position (Patient), of the first pixel
    orientation: tuple[float, ...] | None = None  # Image Orientation (Patient): along a row, down a column
    spacing_mm: tuple[float, float] | None = None  # between rows, between columns
    localizer: bool = False  # an overview, not a slice
    factors: tuple[str, ...] = ()  # the values of FACTORS, "" where the file has none
    phases: tuple[str, ...] = ()  # the values of PHASES
    naming: tuple[str, ...] = ()  # what in it seems to name the patient, in words; never the values

    @property
    def is_slice(self) -> bool:
        """Whether it is a CT slice, and no overview."""
        return is_ct_header(self) and not self.localizer


@dataclass(frozen=True)
class CTMeta:
    """A CT slice's header data about its pixels. None where the file does not say."""

    pixel_spacing_mm: float | None  # pixels are square
    z_mm: float | None  # third value of Image Position (Patient)
    patient_id: str
    series_uid: str
    sop_uid: str
    manufacturer: str
    grid: Grid | None = None  # where the pixels lie
    patient_position: str = ""  # how the patient lay in the scanner, as HFS or FFP
    lossy: bool = False  # the pixels were compressed with loss


def read_header(source: Source, *, name: str | None = None) -> Header:
    """Read what identifies a DICOM file; its pixels stay unread.

    `source` is a path or an open binary file; `name` stands for it in messages. Raises NotDicom when it is no
    DICOM file, another UserError when it is damaged or cannot be opened.
    """
    name = name or _name(source)
    data = _parse(source, name, stop_before_pixels=True, specific_tags=_HEADER_TAGS)
    position = _numbers(data, "ImagePositionPatient", 3)
    orientation = _numbers(data, "ImageOrientationPatient", 6)
    instance = _number(data, "InstanceNumber")
    return Header(
        sop_class=_sop_class(data),
        sop_uid=_text(data, "SOPInstanceUID"),
        modality=_text(data, "Modality"),
        patient_id=_text(data, "PatientID"),
        series_uid=_text(data, "SeriesInstanceUID"),
        instance=None if instance is None else int(instance),
        z_mm=position[2] if position else None,
        position_mm=(position[0], position[1], position[2]) if position else None,
        orientation=tuple(orientation) if orientation else None,
        spacing_mm=_pair(data),
        localizer="LOCALIZER" in _values(data, "ImageType"),
        factors=tuple(_factor(data, keyword) for keyword in FACTORS),
        phases=tuple(_factor(data, keyword) for keyword in PHASES),
        naming=_naming(data),
    )


def _factor(data: Any, keyword: str) -> str:
    """A value as text that is the same however its number is written, as 2.5 and 2.50000."""
    values = _values(data, keyword) if keyword == "ImageType" else [_text(data, keyword)]
    try:
        return f"{float(values[0]):.4g}" if len(values) == 1 else "/".join(values)
    except ValueError:
        return values[0]


def _naming(data: Any) -> tuple[str, ...]:
    """What in a header seems to identify the patient."""
    stated = {keyword: value for keyword in _NAMING if (value := _text(data, keyword))}
    if stated.get("PatientName") == _text(data, "PatientID"):
        stated.pop("PatientName", None)  # an id that stands for the name
    naming = [
        _NAMING[keyword]
        for keyword, value in stated.items()
        if keyword == "PatientBirthDate" or not _NO_NAME.search(value)
    ]
    if _text(data, "BurnedInAnnotation").upper() == "YES":
        naming.append("words within the image")
    return tuple(naming)


def is_ct_header(header: Header) -> bool:
    """True for a single-frame CT image, the only kind that `read_ct` reads."""
    return header.sop_class == CT_IMAGE


def read_ct(source: Source, *, name: str | None = None) -> tuple[np.ndarray, CTMeta]:
    """Read one CT slice: (rows, columns) int16 HU, and what its header says.

    `source` is a path or an open binary file, such as an upload in memory; `name` stands for it in messages.
    Stored values are multiplied by the rescale slope, the intercept is added, and fractions are rounded.
    Whether the result can be HU is decided for the whole stack (`scale.why_not_hu`); the pixels are as
    stored, not upright. Raises UserError, one sentence each, when the file is missing, not DICOM, not a CT
    image, an overview, of several frames, without slope and intercept or pixels, truncated, or compressed
    beyond what is installed.
    """
    name = name or _name(source)
    data = _parse(source, name)
    _check_kind(data, name)
    slope, intercept = _rescale(data, name)
    hu = _pixels(data, name) * slope + intercept
    if hu.min() < -32768 or hu.max() > 32767:
        raise UserError(
            f"{name} holds values from {hu.min():.0f} to {hu.max():.0f}, which are not HU. "
            "Check its rescale slope and intercept, or use another file."
        )
    position = _numbers(data, "ImagePositionPatient", 3)
    meta = CTMeta(
        pixel_spacing_mm=None if (spacing := _pair(data)) is None else check_square(*spacing, name),
        z_mm=position[2] if position else None,
        patient_id=_text(data, "PatientID"),
        series_uid=_text(data, "SeriesInstanceUID"),
        sop_uid=_text(data, "SOPInstanceUID"),
        manufacturer=_text(data, "Manufacturer"),
        grid=_grid(data),
        patient_position=_text(data, "PatientPosition").upper(),
        lossy=_text(data, "LossyImageCompression") == "01",
    )
    return np.rint(hu).astype(np.int16), meta


def _name(source: Source) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    return str(getattr(source, "name", "The file"))


def _parse(source: Source, name: str, **how: Any) -> Any:
    """The pydicom dataset of `source`, or a UserError."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    silence(module="pydicom")  # of oddities in single values; what matters is checked here
    try:
        if isinstance(source, (str, Path)):
            with Path(source).open("rb") as stream:
                return _parse(stream, name, **how)
        start = source.read(1024)
        source.seek(-len(start), io.SEEK_CUR)
        preamble = 132 if start[128:132] == b"DICM" else 0
        if not preamble or start[132:134] != _META:
            source.seek(preamble, io.SEEK_CUR)
            return _bare(source, start[preamble:], name)
        if _DEFLATED in start:
            # Inflated in one go before anything can be checked, so a small forged file could fill the memory.
            raise UserError(f"{name} is a deflated DICOM file, which is not read. Save it uncompressed.")
        return dcmread(source, force=False, **how)
    except UserError:
        raise
    except InvalidDicomError as error:
        raise NotDicom(f"{name} is not a DICOM file. Choose a CT slice saved as DICOM.") from error
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist. Check the path.") from error
    except IsADirectoryError as error:
        raise UserError(f"{name} is a folder. Choose a single DICOM file in it.") from error
    except PermissionError as error:
        raise UserError(f"{name} may not be read. Ask for permission, or copy it elsewhere.") from error
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise UserError(f"{name} is damaged and cannot be read. Export or download it again.") from error


def _bare(source: BinaryIO, start: bytes, name: str) -> Any:
    """The dataset of a file without preamble or meta information, where identity and pixels prove it."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    refusal = NotDicom(f"{name} is not a DICOM file. Choose a CT slice saved as DICOM.")
    if start[:2] not in (_META, b"\x08\0"):  # the groups that a data set begins with
        raise refusal
    content = source.read(_MOST_BARE + 1)
    if len(content) > _MOST_BARE:
        raise refusal
    try:
        data = dcmread(io.BytesIO(content), force=True)
        own = data.file_meta
        if "TransferSyntaxUID" not in own:
            own.TransferSyntaxUID = ImplicitVRLittleEndian if data.is_implicit_VR else ExplicitVRLittleEndian
        pixels = int(data.Rows) * int(data.Columns) * int(data.get("NumberOfFrames", 1))
        whole = (pixels * int(data.BitsAllocated) + 7) // 8
        named = all(_text(data, tag) for tag in ("SOPInstanceUID", "SeriesInstanceUID", "Modality"))
        proven = named and _sop_class(data).startswith(_STORAGE) and len(data.PixelData) - whole in (0, 1)
    except Exception as error:  # pydicom raises many kinds for a file that is not DICOM
        raise refusal from error
    if not proven:
        raise refusal
    return data


def _check_kind(data: Any, name: str) -> None:
    sop_class, modality = _sop_class(data), _text(data, "Modality")
    if sop_class == ENHANCED_CT:
        raise UserError(f"{name} is an enhanced CT with several frames. Export it as single CT slices.")
    if sop_class != CT_IMAGE:
        from pydicom.uid import UID

        what = UID(sop_class).name if sop_class else "of no stated kind"
        kind = f"{what}, modality {modality}" if modality else what
        raise UserError(f"{name} is not a CT slice ({kind}). Choose a CT image.")
    if "LOCALIZER" in _values(data, "ImageType"):
        raise UserError(f"{name} is an overview (localizer), not an axial slice. Choose an axial CT slice.")
    if (frames := _number(data, "NumberOfFrames") or 1) > 1:
        raise UserError(f"{name} has {frames:.0f} frames. Export it as single CT slices.")
    if _number(data, "SamplesPerPixel") not in (None, 1):
        raise UserError(f"{name} is a colour image, not CT in HU. Choose the original CT slice.")
    shown = _text(data, "PhotometricInterpretation").upper()
    if shown not in ("", "MONOCHROME2"):
        raise UserError(
            f"{name} stores its pixels as {shown}, which CT never does. Choose the original CT slice."
        )
    if "ModalityLUTSequence" in data:
        raise UserError(
            f"{name} turns its values into others by a table, not into HU. Choose the original CT slice."
        )
    if "PixelData" not in data:  # the last element of a CT file, so a truncated one has lost it
        raise UserError(
            f"{name} has no pixels: it is truncated or a mere header. Export or download it again."
        )


def _rescale(data: Any, name: str) -> tuple[float, float]:
    slope, intercept = _number(data, "RescaleSlope"), _number(data, "RescaleIntercept")
    if not slope or intercept is None:
        raise UserError(
            f"{name} has no rescale slope and intercept, so its values cannot be turned into HU. "
            "Export it again with its full header."
        )
    kind = _text(data, "RescaleType").upper()
    if kind not in ("", "HU", "US"):  # US: unspecified, which older scanners write for HU
        raise UserError(f"{name} holds {kind}, not HU. Choose the original CT slice.")
    return slope, intercept


def _pixels(data: Any, name: str) -> np.ndarray:
    """(rows, columns) stored values, float64."""
    rows, columns = _number(data, "Rows"), _number(data, "Columns")
    if rows is None or columns is None:
        raise UserError(f"{name} does not say how many pixels it has. Export it again with its full header.")
    if not (0 < rows <= MOST_SIDE and 0 < columns <= MOST_SIDE):
        raise UserError(
            f"{name} claims {rows:.0f} x {columns:.0f} pixels, which no CT has. Use another file."
        )
    compressed = ""
    try:
        syntax = data.file_meta.TransferSyntaxUID
        compressed = syntax.name if syntax.is_compressed else ""
        needed = int(rows) * int(columns) * ((int(data.BitsAllocated) + 7) // 8)
        there = len(data.PixelData)
        if not compressed and there < needed:
            raise UserError(
                f"{name} is truncated: {there:,} of {needed:,} bytes of pixels are there. "
                "Export or download it again."
            )
        stored = np.asarray(data.pixel_array)
    except UserError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds for damaged files
        if compressed:
            raise UserError(
                f"{name} has pixels compressed as {compressed} that cannot be decoded here. "
                "Save it uncompressed."
            ) from error
        raise UserError(f"{name} has pixels that cannot be decoded. Export or download it again.") from error
    if stored.ndim != 2:
        raise UserError(f"{name} is not a single slice. Export it as single CT slices.")
    return stored.astype(np.float64)


def _pair(data: Any) -> tuple[float, float] | None:
    """Pixel Spacing: between rows, between columns."""
    spacing = _numbers(data, "PixelSpacing", 2)
    return (spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None


def _grid(data: Any) -> Grid | None:
    """Where a slice's pixels lie; None if the file does not state it."""
    position, axes = _numbers(data, "ImagePositionPatient", 3), _numbers(data, "ImageOrientationPatient", 6)
    spacing = _pair(data)
    if position is None or axes is None or spacing is None:
        return None
    return Grid(np.array([position]), np.array(axes[3:]) * spacing[0], np.array(axes[:3]) * spacing[1])


def _sop_class(data: Any) -> str:
    """The SOP class; if the file ends before or within it, the one of its meta header."""
    own = _text(data, "SOPClassUID")
    meta = _text(getattr(data, "file_meta", None), "MediaStorageSOPClassUID")
    return meta if meta.startswith(own) else own


def _text(data: Any, keyword: str) -> str:
    try:
        text = str(getattr(data, keyword, None) or "")
        return "".join(character for character in text if character.isprintable()).strip()
    except Exception:  # a value that cannot be decoded is as good as none
        return ""


def _values(data: Any, keyword: str) -> list[str]:
    try:
        return [str(word).upper() for word in getattr(data, keyword, None) or []]
    except Exception:
        return []


def _number(data: Any, keyword: str) -> float | None:
    """A finite number, or None where the element is missing or says something else."""
    try:
        value = float(getattr(data, keyword))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _numbers(data: Any, keyword: str, count: int) -> list[float] | None:
    """`count` finite numbers, or None as of `_number`."""
    try:
        values = [float(number) for number in getattr(data, keyword)]
    except Exception:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None
