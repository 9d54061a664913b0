"""Any images as one stack of slices in HU: an upload's files in memory, or a file by its path.

Of DICOM files the largest stack of the largest series is taken (`volumes.assembly`). Every stack is turned
upright: from feet to head, the front on top, the patient's right on the left. The stack's notes report what
was chosen, left out, turned or is missing. Nothing is written to disk.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from lungvae_core.data.archive import files_in, is_zip
from lungvae_core.data.volumes import dicom, formats
from lungvae_core.data.volumes.assembly import Slice, assemble
from lungvae_core.data.volumes.dicom import Header, NotDicom, is_ct_header, read_ct, read_header
from lungvae_core.data.volumes.formats import is_mask_name, natural
from lungvae_core.data.volumes.grid import Grid, Turn, upright
from lungvae_core.data.volumes.inflate import GZIP
from lungvae_core.data.volumes.scale import to_hu, why_not_hu
from lungvae_core.data.volumes.volume import File
from lungvae_core.errors import UserError
from lungvae_core.number_text import plural

KINDS = f"{formats.KINDS}; several files, or a zip of them"
MOST_FILES = 5_000
SEGMENTATION = dicom.SEGMENTATION
_MASKS = (dicom.SEGMENTATION, dicom.STRUCTURES)


@dataclass(frozen=True)
class Series:
    """A stack of slices with information from its files."""

    name: str  # to display: of the file, or how many files
    hu: np.ndarray  # (slices, rows, columns) int16, upright if the files state their orientation
    spacing_mm: float | None = None  # within a slice; None if the files do not state it
    grid: Grid | None = None  # where the pixels lie in the patient; None if the files do not state it
    turn: Turn | None = None  # how the pixels were turned from what DICOM files store
    patient_id: str = ""
    series_uid: str = ""
    sop_uids: tuple[str, ...] = ()  # of each slice
    notes: tuple[str, ...] = ()  # sentences
    naming: tuple[str, ...] = ()  # what in the files seems to name the patient, in words
    masks: tuple[tuple[str, bytes], ...] = ()  # files that came with it and look like masks: (name, content)

    @property
    def places_mm(self) -> np.ndarray | None:
        """(slices,) rising, along the slices' normal; None if the files do not state positions."""
        return None if self.grid is None else self.grid.places_mm

    def noted(self, *notes: str) -> Series:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class _Upload:
    """An upload's files by what they are."""

    dicom: list[Slice]
    others: list[File]  # with the numbers that lie in a second file joined to them
    damaged: list[tuple[File, UserError]]  # DICOM whose header cannot be read, and why


def read_series(
    files: Sequence[tuple[str, bytes | BinaryIO]], *, hu_range: tuple[float, float] | None = None
) -> Series:
    """Read an upload's files, (name, content) each, as one stack of slices.

    `hu_range` says which HU a picture's or an array's black and white stand for. Raises UserError for
    everything that cannot be read as one stack of HU.
    """
    opened = [file for name, content in files for file in _opened(name, content)]
    if not opened:
        raise UserError(f"There is no file. Give {KINDS}.")
    if len(opened) > MOST_FILES:
        raise UserError(f"{len(opened):,} files are too many; at most {MOST_FILES:,} are read at once.")
    if len(opened) == 1 and opened[0].name.lower().endswith(formats.SUFFIXES):
        return _of_volume(_whole(opened[0], {}), hu_range)
    upload = _by_kind(opened)
    if upload.dicom:
        if hu_range is not None:
            raise UserError(
                f"{upload.dicom[0].name} is DICOM, which says its own HU: a HU range has no meaning for it. "
                "Leave the range out."
            )
        return _of_dicom(upload)
    if upload.damaged:
        raise upload.damaged[0][1]
    return _of_volumes(upload.others, hu_range)


def read_path(path: Path, *, hu_range: tuple[float, float] | None = None) -> Series:
    """A file by its path, with its separate data file if it has one, as one stack; see `read_series`."""
    return read_series([(str(path), read_file(path))], hu_range=hu_range)


def read_file(path: Path) -> bytes:
    """A file's bytes, joined with its separate data file if it has one. UserError if it is missing."""
    if not path.exists():
        raise UserError(f"There is no image at {path}.")
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name one file in it.")

    def beside(name: str) -> bytes | None:
        other = path.parent / name
        return other.read_bytes() if other.is_file() else None

    try:
        return formats.whole(path.read_bytes(), str(path), beside)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}). Ask for permission, or copy it."
        ) from error


# --- files --------------------------------------------------------------------


def _by_kind(files: list[File]) -> _Upload:
    dicom_files: list[Slice] = []
    others: list[File] = []
    damaged: list[tuple[File, UserError]] = []
    for file in files:
        if PurePosixPath(file.name).name.upper() == "DICOMDIR":
            continue
        try:
            dicom_files.append(Slice(file.name, file.open, read_header(file.open(), name=file.name)))
        except NotDicom:
            if len(files) == 1 and file.name.lower().endswith((".dcm", ".dicom", ".ima")):
                raise
            others.append(file)
        except UserError as error:
            damaged.append((file, error))
    return _Upload(dicom_files, _joined(others), damaged)


def _opened(name: str, content: bytes | BinaryIO) -> list[File]:
    """The file itself, or what is in it if it is a zip or a gzipped DICOM file."""

    def rewound() -> BinaryIO:
        if isinstance(content, bytes):
            return io.BytesIO(content)
        content.seek(0)
        return content

    file = File(name, rewound)
    if not is_zip(file.open(), name):
        return [_unpacked(file)]
    return [_unpacked(each) for each in files_in(file.open(), name)]


def _unpacked(file: File) -> File:
    """A gzipped DICOM file unpacked; any other as it is."""
    if file.name.lower().endswith(formats.SUFFIXES) or file.open().read(2) != GZIP:
        return file
    packed = file.read()
    content = formats.unpacked(packed, file.name)
    return file if content is packed else File(file.name.removesuffix(".gz"), lambda: io.BytesIO(content))


def _joined(files: list[File]) -> list[File]:
    """The files, those that hold another one's numbers joined to it."""
    by_name = {PurePosixPath(file.name).name: file for file in files}
    parts: set[str] = set()  # the names of files that were joined to another
    joined = [_whole(file, by_name, parts) for file in files]
    return [file for file in joined if PurePosixPath(file.name).name not in parts]


def _whole(file: File, beside: dict[str, File], parts: set[str] | None = None) -> File:
    """A file with the numbers that its header refers to, whose name is added to `parts`."""
    if not file.name.lower().endswith((".mhd", ".nhdr")):
        return file

    def fetch(name: str) -> bytes | None:
        if parts is not None:
            parts.add(name)
        return beside[name].read() if name in beside else None

    content = formats.whole(file.read(), file.name, fetch)
    return File(file.name, lambda: io.BytesIO(content))


# --- volumes and pictures -----------------------------------------------------


def _of_volume(file: File, hu_range: tuple[float, float] | None, masks: Sequence[File] = ()) -> Series:
    volume = formats.read_volume(file.read(), file.name)
    hu = to_hu(volume.levels, file.name, hu_range=hu_range, white=volume.white)
    series = Series(file.name, hu, volume.spacing_mm, notes=volume.notes, masks=_contents(masks))
    return series if volume.grid is None else _upright(series, volume.grid)[0]


def _upright(series: Series, grid: Grid) -> tuple[Series, Turn]:
    """A series whose pixels lie on `grid`, turned upright, and how it was turned."""
    turn, grid, notes = upright(grid, series.hu.shape, series.name)
    turned = replace(series, hu=turn.of(series.hu), grid=grid, spacing_mm=grid.spacing_mm[0])
    return turned.noted(*notes), turn


def _contents(masks: Sequence[File]) -> tuple[tuple[str, bytes], ...]:
    return tuple((mask.name, mask.read()) for mask in masks)


def _of_volumes(files: list[File], hu_range: tuple[float, float] | None) -> Series:
    """Several files that are no DICOM: an image and its mask, or a stack of single images by their names."""
    masks = [file for file in files if is_mask_name(file.name)]
    images = [file for file in files if file not in masks]
    if not images:
        images, masks = files, []
    if len(images) == 1:
        return _of_volume(images[0], hu_range, masks)
    ordered = [_of_volume(file, hu_range) for file in sorted(images, key=lambda file: natural(file.name))]
    if len({one.hu.shape for one in ordered}) > 1 or len(ordered[0].hu) != 1:
        raise UserError(
            f"The {len(images)} files are not slices of one size. Upload one volume, or slices of one series."
        )
    spacing = {one.spacing_mm for one in ordered}
    return Series(
        f"{len(ordered)} images",
        np.concatenate([one.hu for one in ordered]),
        ordered[0].spacing_mm if len(spacing) == 1 else None,
        notes=("The slices are in the order of their files' names.",),
        masks=_contents(masks),
    )


# --- DICOM --------------------------------------------------------------------


def _of_dicom(upload: _Upload) -> Series:
    upload = _without_cut_off(upload)
    slices = [file for file in upload.dicom if file.header.is_slice]
    if not slices:
        _refuse_without_slices(upload)
    masks: list[File] = [file for file in upload.dicom if file.header.sop_class in _MASKS]
    masks += [file for file in upload.others if is_mask_name(file.name)]
    notes = _left_out(upload)
    stack = assemble(slices, notes)
    if reason := why_not_hu(stack.hu):
        raise UserError(f"{_name(stack.slices)} holds {reason}")
    series = Series(
        _name(stack.slices),
        stack.hu,
        stack.spacing_mm,
        patient_id=stack.slices[0].header.patient_id,
        series_uid=stack.slices[0].header.series_uid,
        sop_uids=tuple(file.header.sop_uid for file in stack.slices),
        notes=tuple(notes),
        naming=tuple(dict.fromkeys(name for file in stack.slices for name in file.header.naming)),
        masks=_contents(masks),
    )
    if stack.grid is None:
        series = series.noted("The files do not say how their slices lie; they are shown as stored.")
    else:
        series = _turned(series, stack.grid)
    return replace(series, notes=tuple(dict.fromkeys(series.notes)))


def _turned(series: Series, grid: Grid) -> Series:
    """A series of DICOM files turned upright, their identities in the new order of the slices."""
    series, turn = _upright(series, grid)
    if turn.order[0] != 0:  # its slices are no longer those of the files
        return replace(series, turn=turn, sop_uids=())
    if turn.within:
        series = series.noted(
            "The files store their pixels turned or mirrored; they are shown upright, the front on top."
        )
    uids = series.sop_uids[::-1] if turn.flips[0] else series.sop_uids
    return replace(series, turn=turn, sop_uids=uids)


def _without_cut_off(upload: _Upload) -> _Upload:
    """The upload without directories; a file that ends within its header is among the damaged."""
    files = [file for file in upload.dicom if file.header.sop_class != dicom.DIRECTORY]
    cut = []  # beside files that name their series, one that does not ends within its header
    if any(file.header.series_uid for file in files):
        cut = [file for file in files if is_ct_header(file.header) and not file.header.series_uid]
    damaged = [(file, UserError(f"{file.name} is cut off.")) for file in cut]
    return _Upload([file for file in files if file not in cut], upload.others, [*upload.damaged, *damaged])


def _name(slices: list[Slice]) -> str:
    return f"{len(slices)} CT slices" if len(slices) > 1 else slices[0].name


def _refuse_without_slices(upload: _Upload) -> None:
    if len(upload.dicom) == 1:
        read_ct(upload.dicom[0].open(), name=upload.dicom[0].name)  # says what is wrong with it
    if upload.damaged and not upload.dicom:
        raise upload.damaged[0][1]
    kinds = Counter(file.header.modality or "unknown" for file in upload.dicom)
    listed = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
    raise UserError(f"None of the DICOM files is an axial CT slice ({listed}). Choose a CT series.")


def _left_out(upload: _Upload) -> list[str]:
    """Sentences on how many files are not slices, and of which kind."""
    kinds = Counter(
        "overview" if file.header.localizer else _kind(file.header)
        for file in upload.dicom
        if not file.header.is_slice and file.header.sop_class not in _MASKS
    )
    if others := sum(not is_mask_name(file.name) for file in upload.others):
        kinds["not DICOM"] += others
    notes = []
    if left := sum(kinds.values()):
        listed = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common())
        files_are = "1 file that is" if left == 1 else f"{left:,} files that are"
        notes.append(f"{files_are} no CT slice left out ({listed}).")
    if damaged := upload.damaged:
        notes.append(f"{plural(len(damaged), 'damaged file')} left out, for example {damaged[0][0].name}.")
    return notes


def _kind(header: Header) -> str:
    return "enhanced CT" if header.sop_class == dicom.ENHANCED_CT else header.modality or "other DICOM"
