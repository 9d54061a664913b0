"""Any upload as one stack of slices: DICOM files, a zip of them, a NIfTI volume, an npy stack, pictures.

Of DICOM files the series with the most slices is taken and sorted by the slices' positions along their
normal, from feet to head. What was chosen, left out or is missing is said in the stack's notes. Nothing is
written to the disk.
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from lungvae_core.data.archive import Archive, is_zip
from lungvae_core.data.dicom import CTMeta, Header, NotDicom, is_ct_header, read_ct, read_header
from lungvae_core.data.images import ImageFile, read_image
from lungvae_core.errors import UserError

KINDS = "DICOM files (one, a series, or a zip of them), NIfTI, .npy or .png"
MOST_FILES = 5_000
MOST_BYTES = 768 * 2**20  # of a stack in HU: 1,500 slices of 512x512
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR
_MASK_NAMES = re.compile(r"(^|[_\-. ])(mask|seg|segmentation|label|labels)s?([_\-. ]|$)", re.IGNORECASE)
_UNEVEN = 0.1  # of the usual distance between slices, by which one may differ


@dataclass(frozen=True)
class Series:
    """A stack of slices with what its files say of it."""

    name: str  # for people; of a file or of how many
    hu: np.ndarray  # (slices, rows, columns) int16, from feet to head where the files tell
    spacing_mm: float | None = None  # within a slice; None where the files do not tell
    places_mm: np.ndarray | None = None  # (slices,) rising, along the slices' normal
    corners_mm: np.ndarray | None = None  # (slices, 3) Image Position (Patient)
    orientation: tuple[float, ...] | None = None  # (6,) Image Orientation (Patient)
    patient_id: str = ""
    series_uid: str = ""
    sop_uids: tuple[str, ...] = ()  # of each slice
    notes: tuple[str, ...] = ()  # sentences
    naming: tuple[str, ...] = ()  # what in the files seems to name the patient, in words
    masks: tuple[tuple[str, bytes], ...] = ()  # files that came with it and look like masks: (name, content)


@dataclass(frozen=True)
class _File:
    """One file of an upload, which can be opened again and again."""

    name: str
    open: Callable[[], BinaryIO]


def read_series(
    files: Sequence[tuple[str, bytes | BinaryIO]], *, hu_range: tuple[float, float] | None = None
) -> Series:
    """Read an upload's files, (name, content) each, as one stack of slices.

    `hu_range` says which HU a picture's or an npy's least and greatest grey level stand for. Raises UserError
    in a sentence for everything that cannot be read as one stack.
    """
    found = [file for name, content in files for file in _opened(name, content)]
    if not found:
        raise UserError(f"There is no file. Give {KINDS}.")
    if len(found) > MOST_FILES:
        raise UserError(f"{len(found):,} files are too many; at most {MOST_FILES:,} are read at once.")
    if len(found) == 1:
        return _of_one(found[0], hu_range)
    headers: list[tuple[_File, Header]] = []
    others: list[_File] = []
    damaged: list[tuple[_File, UserError]] = []
    for file in found:
        if PurePosixPath(file.name).name.upper() == "DICOMDIR":
            continue
        try:
            headers.append((file, read_header(file.open(), name=file.name)))
        except NotDicom:
            others.append(file)
        except UserError as error:
            damaged.append((file, error))
    if headers:
        return _of_dicom(headers, others, damaged)
    if damaged:
        raise damaged[0][1]
    return _of_images(others, hu_range)


def _opened(name: str, content: bytes | BinaryIO) -> list[_File]:
    """The file itself, or what is in it if it is a zip."""
    if isinstance(content, bytes):
        raw = content
        file = _File(name, lambda: io.BytesIO(raw))
    else:
        stream = content

        def rewound() -> BinaryIO:
            stream.seek(0)
            return stream

        file = _File(name, rewound)
    if not is_zip(file.open(), name):
        return [file]
    archive = Archive(file.open(), name)
    return [_File(member.name, member.read) for member in archive.members]


def _of_one(file: _File, hu_range: tuple[float, float] | None) -> Series:
    stream = file.open()
    if _begins_as_dicom(stream):
        hu, meta = read_ct(stream, name=file.name)
        header = read_header(file.open(), name=file.name)
        corner = None if header.position_mm is None else np.array([header.position_mm])
        return Series(
            file.name,
            hu[None],
            meta.pixel_spacing_mm,
            corners_mm=corner,
            orientation=header.orientation,
            patient_id=meta.patient_id,
            series_uid=meta.series_uid,
            sop_uids=(meta.sop_uid,),
            notes=tuple(_tilt(header.orientation)),
            naming=header.naming,
        )
    image = read_image(stream, name=file.name, hu_range=hu_range)
    return _of_image(file.name, image)


def _of_image(name: str, image: ImageFile, masks: tuple[tuple[str, bytes], ...] = ()) -> Series:
    hu = image.hu if image.hu.ndim == 3 else image.hu[None]
    return Series(
        name, hu, image.spacing_mm, patient_id=image.patient_id, series_uid=image.series_uid, masks=masks
    )


def _of_images(files: list[_File], hu_range: tuple[float, float] | None) -> Series:
    """Several files that are no DICOM: an image and its mask, or a stack of single images by their names."""
    masks = [file for file in files if _MASK_NAMES.search(PurePosixPath(file.name).name)]
    files = [file for file in files if file not in masks] or files
    masks = [] if files == masks else masks
    beside = tuple((file.name, file.open().read()) for file in masks)
    if len(files) == 1:
        image = read_image(files[0].open(), name=files[0].name, hu_range=hu_range)
        return _of_image(files[0].name, image, masks=beside)
    ordered = sorted(files, key=lambda file: _natural(file.name))
    images = [read_image(file.open(), name=file.name, hu_range=hu_range) for file in ordered]
    shapes = {image.hu.shape for image in images}
    if len(shapes) > 1 or images[0].hu.ndim != 2:
        raise UserError(
            f"The {len(files)} files are not slices of one size. Upload one volume, or slices of one series."
        )
    spacing = {image.spacing_mm for image in images}
    return Series(
        f"{len(images)} images",
        np.stack([image.hu for image in images]),
        images[0].spacing_mm if len(spacing) == 1 else None,
        notes=("The slices are in the order of their files' names.",),
        masks=beside,
    )


def _of_dicom(
    headers: list[tuple[_File, Header]], others: list[_File], damaged: list[tuple[_File, UserError]]
) -> Series:
    notes: list[str] = []
    headers = [(file, header) for file, header in headers if header.sop_class != _DIRECTORY]
    if any(header.series_uid for _, header in headers):
        # A file that ends within its header names no series; beside others that do, it is cut off.
        cut = [file for file, header in headers if is_ct_header(header) and not header.series_uid]
        headers = [(file, header) for file, header in headers if file not in cut]
        damaged = [*damaged, *((file, UserError(f"{file.name} is cut off.")) for file in cut)]
    slices = [(file, header) for file, header in headers if is_ct_header(header) and not header.localizer]
    masks = [(file.name, file) for file, header in headers if header.sop_class == SEGMENTATION]
    masks += [(file.name, file) for file in others if _MASK_NAMES.search(PurePosixPath(file.name).name)]
    if not slices:
        if len(headers) == 1:
            read_ct(headers[0][0].open(), name=headers[0][0].name)  # says what is wrong with it
        if damaged and not headers:
            raise damaged[0][1]
        kinds = Counter(header.modality or "unknown" for _, header in headers)
        words = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        raise UserError(f"None of the DICOM files is an axial CT slice ({words}). Choose a CT series.")
    left = len(headers) - len(slices) + len(others) - len(masks)
    if left:
        notes.append(f"{_count(left, 'file')} that {'is' if left == 1 else 'are'} no CT slice left out.")
    if damaged:
        notes.append(f"{_count(len(damaged), 'damaged file')} left out, for example {damaged[0][0].name}.")
    chosen = _largest(slices, notes)
    ordered = _sorted(chosen, notes)
    series = _pixels(ordered, notes)
    files = tuple((name, file.open().read()) for name, file in masks)
    naming = tuple(dict.fromkeys(words for _, header in chosen for words in header.naming))
    return Series(**{**series, "notes": tuple(notes), "naming": naming, "masks": files})


def _largest(slices: list[tuple[_File, Header]], notes: list[str]) -> list[tuple[_File, Header]]:
    """Of all series the one with most slices; slices of another orientation are another series."""
    groups: dict[tuple, list[tuple[_File, Header]]] = defaultdict(list)
    for file, header in slices:
        turned = None if header.orientation is None else tuple(round(v, 1) for v in header.orientation)
        groups[(header.patient_id, header.series_uid, turned)].append((file, header))
    ordered = sorted(groups.values(), key=len, reverse=True)
    if len(ordered) > 1:
        sizes = ", ".join(f"{len(group):,}" for group in ordered[1:6])
        notes.append(
            f"The upload holds {len(ordered)} series; the one with the most slices ({len(ordered[0]):,}) is "
            f"shown. The others have {sizes}{' and so on' if len(ordered) > 6 else ''}."
        )
    return ordered[0]


def _sorted(slices: list[tuple[_File, Header]], notes: list[str]) -> list[tuple[_File, Header, float | None]]:
    """Slices by their place along the normal, one a place; by their numbers where places are unknown."""
    same = {header.sop_uid for _, header in slices if header.sop_uid}
    if len(same) < len(slices) and all(header.sop_uid for _, header in slices):
        once: dict[str, tuple[_File, Header]] = {}
        for file, header in slices:
            once.setdefault(header.sop_uid, (file, header))
        slices = list(once.values())
    if any(header.position_mm is None for _, header in slices):
        notes.append("The files do not say where their slices lie; they are in the order of their numbers.")
        numbered = sorted(slices, key=lambda item: (item[1].instance or 0, _natural(item[0].name)))
        return [(file, header, None) for file, header in numbered]
    orientation = slices[0][1].orientation
    notes.extend(_tilt(orientation))
    normal = _normal(orientation)
    placed = [(file, header, float(np.dot(normal, header.position_mm or ()))) for file, header in slices]
    placed.sort(key=lambda item: (item[2], item[1].instance or 0))
    kept = placed[:1]
    for item in placed[1:]:
        if item[2] - (kept[-1][2] or 0.0) > 1e-3:
            kept.append(item)
    if len(kept) < len(placed):
        notes.append(
            f"{_count(len(placed) - len(kept), 'slice')} at the place of another left out: the series may "
            "have several phases."
        )
    _say_gaps(np.array([item[2] for item in kept]), notes)
    return list(kept)


def _say_gaps(places: np.ndarray, notes: list[str]) -> None:
    gaps = np.diff(places)
    if len(gaps) < 2:
        return
    usual = float(np.median(gaps))
    missing = int(sum(round(gap / usual) - 1 for gap in gaps if gap > 1.5 * usual))
    if missing:
        notes.append(
            f"About {missing:,} slices are missing: they lie {usual:g} mm apart, and the largest gap is "
            f"{gaps.max():g} mm. Outlines are not followed across a gap."
        )
    even = gaps[gaps <= 1.5 * usual]
    if np.abs(even - usual).max(initial=0) > _UNEVEN * usual:
        notes.append(f"The slices are unevenly spaced: {even.min():.3g} to {even.max():.3g} mm.")


def _pixels(slices: list[tuple[_File, Header, float | None]], notes: list[str]) -> dict:
    """The stack, and what of it `Series` takes."""
    kept: list[tuple[_File, Header, float | None]] = []
    images: list[np.ndarray] = []
    metas: list[CTMeta] = []
    failed: list[UserError] = []
    for item in slices:
        try:
            hu, meta = read_ct(item[0].open(), name=item[0].name)
        except UserError as error:
            failed.append(error)
            if len(failed) > len(slices) / 2:
                raise failed[0] from error
            continue
        if not images and hu.nbytes * len(slices) > MOST_BYTES:
            raise UserError(
                f"The series is too large: {len(slices):,} slices of {hu.shape[0]}x{hu.shape[1]}. "
                "Upload the slices around the lesion."
            )
        if images and hu.shape != images[0].shape:
            raise UserError(
                f"The series has slices of {images[0].shape[0]}x{images[0].shape[1]} and of "
                f"{hu.shape[0]}x{hu.shape[1]} pixels. Upload slices of one size."
            )
        kept.append(item)
        images.append(hu)
        metas.append(meta)
    if not images:
        raise failed[0]
    if failed:
        notes.append(f"{_count(len(failed), 'slice')} left out: {failed[0]}")
    spacing = {meta.pixel_spacing_mm for meta in metas}
    if len(spacing) > 1:
        raise UserError("The series' slices differ in their pixel spacing. Upload slices of one series.")
    known = all(place is not None for _, _, place in kept)
    corners = np.array([header.position_mm for _, header, _ in kept], float) if known else None
    return {
        "name": f"{len(images)} CT slices" if len(images) > 1 else kept[0][0].name,
        "hu": np.stack(images),
        "spacing_mm": metas[0].pixel_spacing_mm,
        "places_mm": np.array([place for _, _, place in kept], float) if known else None,
        "corners_mm": corners,
        "orientation": kept[0][1].orientation,
        "patient_id": metas[0].patient_id,
        "series_uid": metas[0].series_uid,
        "sop_uids": tuple(meta.sop_uid for meta in metas),
    }


def _normal(orientation: tuple[float, ...] | None) -> np.ndarray:
    """(3,) the slices' normal, rising along the axis that it is nearest to; the body's where unknown."""
    if orientation is None:
        return np.array([0.0, 0.0, 1.0])
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    if length < 1e-6:
        return np.array([0.0, 0.0, 1.0])
    normal = normal / length
    return normal if normal[np.abs(normal).argmax()] > 0 else -normal


def _tilt(orientation: tuple[float, ...] | None) -> list[str]:
    if orientation is None or abs(_normal(orientation)[2]) > 0.9:
        return []
    return ["The slices are not axial. The models learned axial slices: do not rely on what they say."]


def _begins_as_dicom(stream: BinaryIO) -> bool:
    start = stream.read(132)
    stream.seek(0)
    return start[128:] == b"DICM"


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name.lower())]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
