"""Writing files so that a reader never sees half of one, hashing them, and locking a folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lungvae_core.errors import UserError

LEFTOVER = ".tmp"  # how the names of files end that are being written, or were when their writer was killed


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on a clean exit it is flushed to disk and renamed to `target`.

    After an exception, `target` is as it was before. Raises UserError when the disk is full or the folder
    cannot be written.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=LEFTOVER)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(target, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files private; give the file the permissions an ordinary open() would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Delete what writers of the files `names` left in `folder` when they were killed.

    The caller holds the folder's lock, so that no such writer is at work.
    """
    for name in names:
        for leftover in Path(folder).glob(f".{name}.*{LEFTOVER}"):
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; on a clean exit it takes the place of `target`.

    Raises UserError when `target` exists and is not empty, unless `overwrite`.
    """
    target = Path(target)
    refuse_existing(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if target.exists():
            old = temporary.with_suffix(".old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(target: Path, *, overwrite: bool = False) -> None:
    """Raise UserError if `target` is a file, or a non-empty folder that may not be overwritten."""
    if target.is_file():
        raise UserError(f"{target} is a file, but a folder is to be written there. Choose another --out.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UserError(f"{target} already exists. Choose another --out, or add --overwrite to replace it.")


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused, since it is not JSON."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON file; `what` names it in the UserError that a missing or damaged one raises."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{what} is missing: {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{what} cannot be read: {path} is damaged or not JSON ({error}).") from error


def sha256(*paths: Path) -> str:
    """Hex SHA-256 over the contents of `paths`, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with Path(path).open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def folder_lock(folder: Path, *, what: str) -> Iterator[None]:
    """Hold `folder` for this process; raise UserError at once when another process holds it.

    The operating system drops the lock when the process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a+")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"Another process is writing {what} {folder}. Wait for it, stop it, or choose another folder."
            ) from error
        yield


def _cannot_write(target: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"Cannot write {target}: {reason}. Free space or choose a folder that you may write to.")
