"""The files of a zip archive, read in memory one at a time and never unpacked to the disk.

An untrusted archive can declare or unpack to far more than its size: limits are checked before and while it
is read.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from lungvae_core.data.volumes.volume import File
from lungvae_core.errors import UserError

MOST_MEMBERS = 5_000
MOST_MEMBER_BYTES = 2**28  # of one file; a CT slice has half a megabyte, a NIfTI volume up to 200
MOST_BYTES = 2**30  # of all files together
_ENCRYPTED = 0x1
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")


def files_in(source: BinaryIO, name: str) -> list[File]:
    """The files of a zip archive in memory; `name` stands for it in messages.

    Opening one raises UserError where it is damaged or longer than the archive says. Raises UserError for an
    archive that is damaged, encrypted, empty, too large, or has paths that lead out of it.
    """
    try:
        archive = zipfile.ZipFile(source)
        entries = archive.infolist()
        if not all(entry.filename for entry in entries):
            raise ValueError("a member without a name")
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise UserError(f"{name} is not a readable zip archive. Zip the folder again.") from error
    entries = [entry for entry in entries if not entry.is_dir() and not _junk(entry.filename)]
    if not entries:
        raise UserError(f"{name} holds no files. Zip the folder with the DICOM files.")
    if len(entries) > MOST_MEMBERS:
        raise UserError(
            f"{name} holds {len(entries):,} files; at most {MOST_MEMBERS:,} are read. "
            "Zip the one series that you need."
        )
    for entry in entries:
        _check(entry, name)
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise UserError(
            f"{name} unpacks to {total / 2**20:,.0f} MiB; at most {MOST_BYTES / 2**20:,.0f} are read. "
            "Zip the one series that you need."
        )
    return [File(entry.filename, partial(_unpack, archive, entry, name)) for entry in entries]


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> BinaryIO:
    where = f"{entry.filename} in {name}"
    try:
        with archive.open(entry.filename) as stream:
            # zipfile stops at the size that was checked, so a bomb cannot grow beyond it.
            content = stream.read(entry.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{where} is damaged and cannot be unpacked. Zip the folder again.") from error
    if len(content) > entry.file_size:
        raise UserError(f"{where} is longer than the archive says. Zip the folder again.")
    return io.BytesIO(content)


def is_zip(source: BinaryIO, name: str) -> bool:
    """Whether a file is a zip archive, by its first bytes or its name's ending."""
    start = source.read(4)
    source.seek(0)
    return start in (b"PK\x03\x04", b"PK\x05\x06") or name.lower().endswith(".zip")


def _check(entry: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise UserError(f"{name} holds paths that lead out of it. Zip the folder itself, from above it.")
    if entry.flag_bits & _ENCRYPTED:
        raise UserError(f"{name} is encrypted. Unpack it and zip it again without a password.")
    if entry.file_size > MOST_MEMBER_BYTES:
        raise UserError(
            f"{name} holds a file of {entry.file_size / 2**20:,.0f} MiB when unpacked; at most "
            f"{MOST_MEMBER_BYTES / 2**20:,.0f} are read. Zip single CT slices."
        )


def _junk(name: str) -> bool:
    """What operating systems leave behind in folders."""
    return any(part in _JUNK or part.startswith("._") for part in PurePosixPath(name).parts)
