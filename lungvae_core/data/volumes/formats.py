"""Which reader a file needs, by its content and name; what names say of order and masks.

A header and its data file are joined first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from lungvae_core.data.volumes import metaimage, nifti, nrrd, pictures
from lungvae_core.data.volumes.inflate import GZIP, start
from lungvae_core.data.volumes.npy import read_npy
from lungvae_core.data.volumes.volume import Volume
from lungvae_core.errors import UserError

KINDS = (
    "DICOM, NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd with .raw), NRRD (.nrrd, .nhdr), .npy, .png or .tif"
)
MASKS = "DICOM-SEG, RTSTRUCT, NIfTI, MetaImage, NRRD, .npy or .png"
SUFFIXES = (".npy", *pictures.SUFFIXES, *nifti.SUFFIXES, *metaimage.SUFFIXES, *nrrd.SUFFIXES)
MOST_PACKED = 64 * 2**20  # bytes of a gzipped DICOM file, unpacked; a slice of 4,096 x 4,096 has 32 MiB
_MASK = re.compile(r"(^|[_\-. ])(mask|seg|segmentation|label|labels|rtstruct)s?([_\-. ]|$)", re.IGNORECASE)
_HEADERS = {".mhd": metaimage.data_file, ".nhdr": nrrd.data_file}


def read_volume(content: bytes, name: str, *, labels: bool = False) -> Volume:
    """The numbers of any file but DICOM (`labels`: of a mask); UserError for unknown and damaged files."""
    kind = name.lower()
    if not content:
        raise UserError(f"{name} is empty. Choose another file.")
    if kind.endswith(".npy"):
        return read_npy(content, name)
    if kind.endswith(pictures.SUFFIXES):
        return pictures.read_picture(content, name, labels=labels)
    if kind.endswith(nifti.SUFFIXES):
        return nifti.read_nifti(content, name)
    if kind.endswith(metaimage.SUFFIXES):
        return metaimage.read_metaimage(content, name)
    if kind.endswith(nrrd.SUFFIXES) or content.startswith(b"NRRD000"):
        return nrrd.read_nrrd(content, name)
    raise UserError(f"{name} is of no kind that is read here. Give {MASKS if labels else KINDS}.")


def unpacked(content: bytes, name: str) -> bytes:
    """A gzipped DICOM file unpacked; any other content as it is. UserError where it grows too large."""
    if content[:2] != GZIP or start(content, 132, name)[128:] != b"DICM":
        return content
    whole = start(content, MOST_PACKED + 1, name)
    if len(whole) > MOST_PACKED:
        raise UserError(f"{name} unpacks to more than {MOST_PACKED >> 20} MiB, which no CT slice has.")
    return whole


def whole(content: bytes, name: str, fetch: Callable[[str], bytes | None]) -> bytes:
    """The file, joined with the second file that holds its numbers if its header refers to one.

    `fetch` gives a file beside it by its name, or None. UserError for one that is not beside it.
    """
    look = _HEADERS.get(PurePosixPath(name.lower()).suffix)
    part, line = look(content, name) if look and content else ("", slice(0))
    if not part:
        return content
    ends_in_number = len(part.split()) > 1 and part.split()[-1].isdigit()
    if "%" in part or part.upper().startswith("LIST") or ends_in_number:
        raise UserError(f"{name} spreads its numbers over many files. Save it as one, such as .mha or .nrrd.")
    if PurePosixPath(part.replace("\\", "/")).name != part:
        raise UserError(f"{name} refers to {part}, which does not lie beside it. Give both files together.")
    numbers = fetch(part)
    if numbers is None:
        raise UserError(f"{name} keeps its numbers in {part}, which is not there. Give both files together.")
    if look is nrrd.data_file:
        return (content[: line.start] + content[line.stop :]).rstrip(b"\r\n") + b"\n\n" + numbers
    return content[: line.start] + metaimage.LOCAL + numbers


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name.lower())]


def is_mask_name(name: str) -> bool:
    """Whether a file's name says that it is a mask, as lesion_mask.nii does."""
    return _MASK.search(PurePosixPath(name).name) is not None
