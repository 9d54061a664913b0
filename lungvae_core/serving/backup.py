"""One file with all that a server made: its database, evaluations, logs, runs and, if asked, data sets.

A tar archive; its last member, manifest.json, has every file's SHA-256 and where the folders were. The
database is copied by SQLite's own online backup, so the server may run meanwhile. A folder that something
writes in is left out and named, since half of it would be worth nothing; one being copied is locked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

import lungvae_core
from lungvae_core.errors import UserError
from lungvae_core.files import LEFTOVER, atomic_folder, atomic_path, folder_lock, refuse_existing
from lungvae_core.serving.database import database_url
from lungvae_core.serving.jobs import Job, Jobs
from lungvae_core.serving.settings import Settings

FORMAT = 1
DATABASE = "workspace.db"
MANIFEST = "manifest.json"
PARTS = ("workspace", "runs", "data")
_PASSED_OVER = {
    "cache",
    DATABASE,
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
}  # of the workspace; a cache is made anew
_NAME = re.compile(r"(?:workspace|runs|data)(?:/[^/\0]+)+")


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    version: str
    created: str  # ISO, UTC
    folders: dict[str, str]  # where workspace, runs and data were
    files: dict[str, str]  # SHA-256, by the name in the archive


@dataclass
class Summary:
    """What a backup holds, and what it lacks."""

    created: str = ""
    files: int = 0
    size: int = 0  # bytes
    left_out: list[str] = field(default_factory=list)  # in sentences


def back_up(settings: Settings, target: Path, *, with_data: bool = False) -> Summary:
    """Write a backup to `target`, which must not exist; UserError where it cannot be written."""
    target = Path(target)
    if target.exists():
        raise UserError(f"{target} already exists. Choose another --out.")
    made = Summary(datetime.now(UTC).isoformat(timespec="seconds"))
    files: dict[str, str] = {}
    busy = (
        {Path(job.folder) for job in Jobs(settings).all() if job.active} if _has_database(settings) else set()
    )
    with atomic_path(target) as temporary, tarfile.open(temporary, "w") as archive:
        _add_database(settings, archive, files, made)
        roots = {"workspace": settings.workspace, "runs": settings.runs}
        if with_data:
            roots["data"] = settings.data
        for part, root in roots.items():
            for folder, name in _folders(part, root.resolve()):
                _add_folder(archive, folder, name, files, made, busy)
        manifest = _Manifest(
            format=FORMAT,
            version=lungvae_core.__version__,
            created=made.created,
            folders={part: str(getattr(settings, part).resolve()) for part in PARTS},
            files=files,
        )
        _add_bytes(archive, MANIFEST, manifest.model_dump_json(indent=1).encode())
    return made


def check(archive: Path) -> Summary:
    """Read a backup to its end; UserError unless every file in it is as it was."""
    with tempfile.TemporaryDirectory(prefix="lungvae-check-") as folder:
        return _extract(archive, {part: Path(folder) / part for part in PARTS}, keep=False)[1]


def restore(archive: Path, settings: Settings) -> Summary:
    """Bring a backup back into the folders in use, which must be empty or absent.

    Nothing appears in them unless all of it is whole. Jobs that were running count as ended, and can be
    resumed; what they say of folders is changed to the folders in use. Raises UserError for a damaged or
    foreign archive, and for a folder with something in it.
    """
    targets = {part: getattr(settings, part).resolve() for part in PARTS}
    with contextlib.ExitStack() as opened:
        manifest = _read_manifest(archive)
        wanted = {name.partition("/")[0] for name in manifest.files}
        for part in sorted(wanted):
            refuse_restoring_into(targets[part])
        places = {part: opened.enter_context(atomic_folder(targets[part])) for part in sorted(wanted)}
        _, made = _extract(archive, places)
        if (database := places.get("workspace", Path()) / DATABASE).is_file():
            _move_jobs(database, manifest.folders, {part: str(path) for part, path in targets.items()})
    return made


def refuse_restoring_into(folder: Path) -> None:
    """UserError when a folder has something in it."""
    try:
        refuse_existing(folder)
    except UserError:
        raise UserError(
            f"{folder} is not empty, and nothing is restored over what is there. Move it away, or name other "
            "folders with LUNGVAE_WORKSPACE, LUNGVAE_RUNS and LUNGVAE_DATA."
        ) from None


def _has_database(settings: Settings) -> bool:
    return (settings.workspace / DATABASE).is_file()


def _add_database(settings: Settings, archive: tarfile.TarFile, files: dict[str, str], made: Summary) -> None:
    if not database_url(settings).startswith("sqlite"):
        made.left_out.append("The database: LUNGVAE_DATABASE names a server. Back it up with its own tools.")
        return
    if not _has_database(settings):
        return
    with tempfile.TemporaryDirectory(prefix="lungvae-backup-") as folder:
        copy = Path(folder) / DATABASE
        try:
            with (
                contextlib.closing(sqlite3.connect(settings.workspace / DATABASE, timeout=30)) as source,
                contextlib.closing(sqlite3.connect(copy)) as into,
            ):
                source.backup(into)
                into.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise UserError(f"The workspace's database cannot be copied: {error}.") from error
        _add_file(archive, copy, f"workspace/{DATABASE}", files, made)


def _folders(part: str, root: Path) -> Iterator[tuple[Path, str]]:
    """What is copied as one: each run, evaluation and data set by itself, and what lies beside them."""
    if not root.is_dir():
        return
    for entry in sorted(root.iterdir()):
        if part == "workspace" and entry.name == "evaluations" and entry.is_dir():
            for evaluation in sorted(entry.iterdir()):
                yield evaluation, f"workspace/evaluations/{evaluation.name}"
        elif not entry.name.startswith(".") and not (part == "workspace" and entry.name in _PASSED_OVER):
            yield entry, f"{part}/{entry.name}"


def _add_folder(
    archive: tarfile.TarFile, path: Path, name: str, files: dict[str, str], made: Summary, busy: set[Path]
) -> None:
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        made.left_out.append(f"{name}: it is a link or no file. Back up what it leads to by itself.")
    elif path.is_file():
        _add_file(archive, path, name, files, made)
    elif path in busy:
        made.left_out.append(f"{name}: a job is writing it. Back up again when it has ended.")
    elif name == "workspace/jobs":
        for log in sorted(path.glob("*.log")):
            _add_file(archive, log, f"{name}/{log.name}", files, made)
    else:
        try:
            with folder_lock(path, what="the folder"):
                for each in sorted(path.rglob("*")):
                    if (
                        each.is_file()
                        and not each.is_symlink()
                        and not each.name.endswith((".lock", LEFTOVER))
                    ):
                        _add_file(archive, each, f"{name}/{each.relative_to(path).as_posix()}", files, made)
        except UserError:
            if not any(known.startswith(f"{name}/") for known in files):
                made.left_out.append(f"{name}: something is writing it. Back up again when it has ended.")
                return
            raise


def _add_file(archive: tarfile.TarFile, path: Path, name: str, files: dict[str, str], made: Summary) -> None:
    try:
        with path.open("rb") as stream:
            info = archive.gettarinfo(arcname=name, fileobj=stream)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            reader = _Hashing(stream)
            archive.addfile(info, reader)
    except OSError as error:
        raise UserError(f"{path} cannot be backed up: {error.strerror or error}.") from error
    files[name] = reader.digest.hexdigest()
    made.files, made.size = made.files + 1, made.size + info.size


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    archive.addfile(info, BytesIO(content))


class _Hashing:
    """A stream that hashes what is read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        self.digest.update(block)
        return block


def _read_manifest(archive: Path) -> _Manifest:
    try:
        with tarfile.open(archive, "r:") as opened:
            names = opened.getnames()
            stream = opened.extractfile(MANIFEST) if names and names[-1] == MANIFEST else None
            raw = json.loads(stream.read()) if stream is not None else None
        manifest = _Manifest.model_validate(raw)
    except FileNotFoundError:
        raise UserError(f"There is no file {archive}.") from None
    except (OSError, tarfile.TarError, ValueError, ValidationError):
        raise UserError(f"{archive} is no backup of `lungvae backup`, or its end is missing.") from None
    if manifest.format > FORMAT:
        raise UserError(f"{archive} was made by lungvae {manifest.version}; restore it with that version.")
    if set(names) != {*manifest.files, MANIFEST} or len(names) != len(set(names)):
        raise UserError(f"{archive} is damaged: its files are not those of its list.")
    for name in manifest.files:
        if not _NAME.fullmatch(name) or {"..", "."} & set(name.split("/")):
            raise UserError(f"{archive} is damaged or was tampered with: {name!r} is no file of a backup.")
    return manifest


def _extract(archive: Path, places: dict[str, Path], *, keep: bool = True) -> tuple[_Manifest, Summary]:
    """Write the archive's files below `places`, each checked; with `keep` false, only check them."""
    manifest = _read_manifest(archive)
    made = Summary(manifest.created)
    try:
        with tarfile.open(archive, "r:") as opened:
            for member in opened:
                if member.name == MANIFEST:
                    continue
                stream = opened.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise UserError(f"{archive} is damaged or was tampered with: {member.name} is no file.")
                part, _, rest = member.name.partition("/")
                made.files, made.size = made.files + 1, made.size + member.size
                target = places[part] / rest
                if keep:
                    target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with target.open("wb") if keep else contextlib.nullcontext() as into:
                    while block := stream.read(1 << 22):
                        digest.update(block)
                        if into is not None:
                            into.write(block)
                if digest.hexdigest() != manifest.files[member.name]:
                    raise UserError(f"{archive} is damaged: {member.name} is not what was backed up.")
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{archive} cannot be read, or its files cannot be written: {error}.") from error
    return manifest, made


def _move_jobs(database: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """Have the jobs of a restored database name the folders in use."""
    moves = [(old[part], new[part]) for part in PARTS if part in old and old[part] != new[part]]

    def moved(value: Any) -> Any:
        if isinstance(value, str):
            for before, after in moves:
                # In a job's arguments a path stands behind the name of an option: --data=/srv/data/x.
                head, sep, tail = value.rpartition("=") if value.startswith("--") else ("", "", value)
                if tail == before or tail.startswith(f"{before}/"):
                    return head + sep + after + tail[len(before) :]
            return value
        if isinstance(value, dict):
            return {key: moved(each) for key, each in value.items()}
        return [moved(each) for each in value] if isinstance(value, list) else value

    engine = create_engine(f"sqlite:///{database}")
    try:
        with Session(engine) as opened, opened.begin():
            for job in opened.scalars(select(Job)):
                job.folder, job.log, job.holds = moved(job.folder), moved(job.log), moved(job.holds)
                job.argv, job.request = moved(job.argv), moved(job.request)
    finally:
        engine.dispose()
