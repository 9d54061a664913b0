"""One file with everything a server made: database, evaluations, logs, runs and, optionally, data sets.

The file is a tar archive. Its last member, manifest.json, lists every file's SHA-256 and where the folders
were. SQLite's online backup copies the database, so the server may keep running. A folder that a process is
writing to is left out and named, since half of it would be useless. A folder is locked while it is copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Self

from pydantic import BaseModel, ConfigDict, ValidationError

import lungvae_core
from lungvae_core import parameters
from lungvae_core.errors import UserError
from lungvae_core.files import (
    atomic_folder,
    atomic_path,
    folder_lock,
    in_the_making,
    open_file,
    refuse_existing,
    temporary_folder,
)
from lungvae_core.json_text import MOST_BYTES, parse_json
from lungvae_core.serving.export.restored_database import rebuild
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace.database import database_url
from lungvae_core.serving.workspace.settings import Settings

FORMAT = 1
DATABASE = "workspace.db"
MANIFEST = "manifest.json"
PARTS = ("workspace", "runs", "data")
# Of the workspace; a cache can be rebuilt.
_PASSED_OVER = {"cache", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
_NAME = re.compile(r"(?:workspace|runs|data)(?:/[^/\0]+)+")
# Limits far above anything the product writes; another program's archive may exceed them.
LONGEST_NAME, DEEPEST, MOST_FILES = 1_000, 40, 200_000
LONGEST_HEADER = 1 << 16  # bytes of a header that holds a long name


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    version: str
    created: str  # ISO, UTC
    folders: dict[str, str]  # where workspace, runs and data were
    files: dict[str, str]  # SHA-256, by the name in the archive


@dataclass
class Summary:
    """What a backup contains and what was left out."""

    created: str = ""
    files: int = 0
    size: int = 0  # bytes
    left_out: list[str] = field(default_factory=list)  # one sentence each


def back_up(settings: Settings, target: Path, *, with_data: bool = False) -> Summary:
    """Write a backup to `target`, which must not exist; UserError if it cannot be written."""
    target = Path(target)
    if target.exists():
        raise UserError(f"{target} already exists. Choose another --out.")
    jobs = Jobs(settings).all() if (settings.workspace / DATABASE).is_file() else []
    busy = {Path(job.folder) for job in jobs if job.active}
    with atomic_path(target) as temporary, tarfile.open(temporary, "w") as archive:
        backup = _Writer(archive, Summary(datetime.now(UTC).isoformat(timespec="seconds")))
        backup.add_database(settings)
        roots = {"workspace": settings.workspace, "runs": settings.runs}
        if with_data:
            roots["data"] = settings.data
        for part, root in roots.items():
            for folder, name in _folders(part, root.resolve()):
                backup.add(folder, name, busy)
        backup.add_manifest({part: str(getattr(settings, part).resolve()) for part in PARTS})
    return backup.made


def check(archive: Path, settings: Settings) -> Summary:
    """Read a whole backup; UserError unless every file is unchanged and the database can be used."""
    with temporary_folder("check") as folder:
        return _extract(archive, {part: folder / part for part in PARTS}, settings, keep=False)


def restore(archive: Path, settings: Settings) -> Summary:
    """Restore a backup into the folders in use, which must be empty or absent.

    Nothing is written to them unless the whole backup is intact. Jobs that were running count as ended and
    can be resumed. Their folders are changed to the folders in use; jobs that name other folders are left
    out. Raises UserError for a damaged archive, another program's archive, and a folder that is not empty.
    """
    targets = {part: getattr(settings, part).resolve() for part in PARTS}
    with contextlib.ExitStack() as opened:
        manifest = _read_manifest(archive)
        parts = sorted({name.partition("/")[0] for name in manifest.files})
        for part in parts:
            refuse_restoring_into(targets[part])
        places = {part: opened.enter_context(atomic_folder(targets[part])) for part in parts}
        return _extract(archive, places, settings)


def refuse_restoring_into(folder: Path) -> None:
    """Raise UserError if a folder is not empty."""
    try:
        refuse_existing(folder)
    except UserError:
        raise UserError(
            f"{folder} is not empty, and nothing is restored over what is there. Move it away, or name other "
            "folders with LUNGVAE_WORKSPACE, LUNGVAE_RUNS and LUNGVAE_DATA."
        ) from None


def _folders(part: str, root: Path) -> Iterator[tuple[Path, str]]:
    """The units to copy: each run, evaluation and data set by itself, then the files next to them."""
    if not root.is_dir():
        return
    for entry in sorted(root.iterdir()):
        if part == "workspace" and entry.name == "evaluations" and entry.is_dir():
            for evaluation in sorted(entry.iterdir()):
                if in_the_making(evaluation):
                    continue
                yield evaluation, f"workspace/evaluations/{evaluation.name}"
        elif not in_the_making(entry) and not (part == "workspace" and entry.name in _PASSED_OVER):
            yield entry, f"{part}/{entry.name}"


@dataclass
class _Writer:
    """A backup that is being written."""

    archive: tarfile.TarFile
    made: Summary
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 by name

    def add_database(self, settings: Settings) -> None:
        if not database_url(settings).startswith("sqlite"):
            self._leave_out("The database", "LUNGVAE_DATABASE names a server. Back it up with its own tools.")
            return
        if not (settings.workspace / DATABASE).is_file():
            return
        with temporary_folder("backup") as folder:
            copy = folder / DATABASE
            try:
                with (
                    contextlib.closing(sqlite3.connect(settings.workspace / DATABASE, timeout=30)) as source,
                    contextlib.closing(sqlite3.connect(copy)) as into,
                ):
                    source.backup(into)
                    into.execute("PRAGMA journal_mode=DELETE")
            except sqlite3.Error as error:
                raise UserError(f"The workspace's database cannot be copied: {error}.") from error
            self._add_file(copy, f"workspace/{DATABASE}")

    def add(self, path: Path, name: str, busy: set[Path]) -> None:
        """Add a file or a folder, unless a job (`busy` has their folders) or a command is writing it."""
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            self._leave_out(name, "it is a link or no file. Back up what it leads to by itself.")
        elif path.is_file():
            self._add_file(path, name)
        elif path in busy:
            self._leave_out(name, "a job is writing it. Back up again when it has ended.")
        elif name == "workspace/jobs":
            for log in sorted(path.glob("*.log")):
                self._add_file(log, f"{name}/{log.name}")
        else:
            try:
                with folder_lock(path, what="the folder"):
                    self._add_inside(path, name)
            except UserError:
                if any(copied.startswith(f"{name}/") for copied in self.files):
                    raise
                self._leave_out(name, "something is writing it. Back up again when it has ended.")

    def _add_inside(self, folder: Path, name: str) -> None:
        for path in sorted(folder.rglob("*")):
            unfinished = path.name.endswith(".lock") or in_the_making(path)
            if unfinished or path.is_symlink() or not path.is_file():
                continue
            inside = f"{name}/{path.relative_to(folder).as_posix()}"
            if _is_name(inside):
                self._add_file(path, inside)
            else:
                self._leave_out(parameters.printable(inside, 200), "its name is too long or deep.")

    def _add_file(self, path: Path, name: str) -> None:
        try:
            with path.open("rb") as stream:
                info = self.archive.gettarinfo(arcname=name, fileobj=stream)
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                reader = _Hashing(stream)
                self.archive.addfile(info, reader)
        except OSError as error:
            raise UserError(f"{path} cannot be backed up: {error.strerror or error}.") from error
        self.files[name] = reader.digest.hexdigest()
        self.made.files, self.made.size = self.made.files + 1, self.made.size + info.size

    def add_manifest(self, folders: dict[str, str]) -> None:
        """Add the list of files, with where the `folders` were."""
        version, created = lungvae_core.__version__, self.made.created
        manifest = _Manifest(
            format=FORMAT, version=version, created=created, folders=folders, files=self.files
        )
        content = manifest.model_dump_json(indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(content), 0o644
        self.archive.addfile(info, BytesIO(content))

    def _leave_out(self, name: str, why: str) -> None:
        self.made.left_out.append(f"{name}: {why}")


class _Hashing:
    """A stream that hashes the bytes read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        self.digest.update(block)
        return block


class _Header(tarfile.TarInfo):
    """A header as `back_up` writes it: for a file or for a file's long name; other kinds are refused."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        long_name = header.type == tarfile.XHDTYPE and header.size <= LONGEST_HEADER
        if header.size < 0 or not (long_name or header.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
            raise UserError("A member is neither a file nor a long name.")
        return header


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    # Read ordinary files only: reading a pipe would block.
    with open_file(archive) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as opened:
        yield opened


def _members(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, each yielded before the next is read, since an extended header can lie."""
    for number, member in enumerate(opened):
        if number >= MOST_FILES:
            raise UserError(f"It has more than {MOST_FILES:,} files.")
        if member.size < 0 or member.issparse():  # a few bytes of a sparse file can expand to any size
            raise UserError("A member has an impossible size.")
        yield member


def _read_manifest(archive: Path) -> _Manifest:
    try:
        with _opened(archive) as opened:
            names = [member.name for member in _members(opened)]
            stream = opened.extractfile(MANIFEST) if names and names[-1] == MANIFEST else None
            text = stream.read(MOST_BYTES + 1) if stream is not None else b""
        manifest = _Manifest.model_validate(parse_json(text, what="The list of files"))
    except FileNotFoundError:
        raise UserError(f"There is no file {archive}.") from None
    except (OSError, tarfile.TarError, ValueError, ValidationError, UserError):
        raise UserError(f"{archive} is no backup of `lungvae backup`, or its end is missing.") from None
    if manifest.format > FORMAT:
        raise UserError(f"{archive} was made by lungvae {manifest.version}; restore it with that version.")
    if set(names) != {*manifest.files, MANIFEST} or len(names) != len(set(names)):
        raise UserError(f"{archive} is damaged: its files are not those of its list.")
    above = {str(folder) for name in manifest.files for folder in PurePosixPath(name).parents}
    for name in manifest.files:
        if not _is_name(name) or _never_copied(name) or name in above:  # a folder that is also a file
            raise UserError(
                f"{archive} is damaged or was tampered with: {parameters.shown(name)} is no file of a backup."
            )
    return manifest


def _is_name(name: str) -> bool:
    """Whether a backup's file can have that name: in one of the folders, neither too long nor too deep."""
    parts = name.split("/")
    return (
        _NAME.fullmatch(name) is not None
        and not {"..", "."} & set(parts)
        and len(name) <= LONGEST_NAME
        and len(parts) <= DEEPEST
        and all(len(os.fsencode(part)) <= 255 for part in parts)
    )


def _never_copied(name: str) -> bool:
    """Whether backups never contain that name: another database's journal, a job's lock, hidden files."""
    part, first, *rest = name.split("/")
    if part != "workspace" or name == f"workspace/{DATABASE}":
        return False
    if first == "jobs":
        return re.fullmatch(r"[0-9]+\.log", "/".join(rest)) is None
    return first.startswith((".", DATABASE)) or first in _PASSED_OVER


def _extract(archive: Path, places: dict[str, Path], settings: Settings, *, keep: bool = True) -> Summary:
    """Check the archive's files and write them below `places`; with `keep` false, only check them.

    The database is written in either case, since checking it needs a file.
    """
    manifest = _read_manifest(archive)
    made = Summary(manifest.created)
    try:
        with _opened(archive) as opened:
            for member in _members(opened):
                if member.name == MANIFEST:
                    continue
                stream = opened.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise UserError(f"{archive} is damaged or was tampered with: {member.name} is no file.")
                part, _, rest = member.name.partition("/")
                made.files, made.size = made.files + 1, made.size + member.size
                target = places[part] / rest
                written = keep or member.name == f"workspace/{DATABASE}"
                if written:
                    target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with target.open("wb") if written else contextlib.nullcontext() as into:
                    while block := stream.read(1 << 22):
                        digest.update(block)
                        if into is not None:
                            into.write(block)
                if digest.hexdigest() != manifest.files[member.name]:
                    raise UserError(f"{archive} is damaged: {member.name} is not what was backed up.")
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{archive} cannot be read, or its files cannot be written: {error}.") from error
    if (database := places.get("workspace", Path()) / DATABASE).is_file():
        made.left_out += rebuild(database, manifest.folders, settings)
    return made
