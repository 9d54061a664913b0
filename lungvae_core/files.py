"""Files: atomic writes, reads within bounds, hashes, and locks of folders."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lungvae_core.errors import UserError
from lungvae_core.json_text import MOST_BYTES, parse_json, plain

# Of the whole process, and read by setting it: once, before there are threads that make files.
_UMASK = os.umask(0o077)
os.umask(_UMASK)

LEFTOVER = ".tmp"  # how the names of files end that are being written, or were when their writer was killed
REPLACED, DELETED, PREPARING = ".old", ".deleted", ".preparing"
TEMPORARY = "lungvae-"  # how the names of folders begin that lie among the system's temporary ones
NO_TEMPORARY_PLACE = (
    "There is no temporary folder that can be written. Set TMPDIR to a folder that you may write to."
)
_MAKING = (LEFTOVER, REPLACED, DELETED, PREPARING)


def in_the_making(path: Path) -> bool:
    """Whether a file or folder is unfinished or being deleted, by its name; such are never listed."""
    return path.name.startswith(".") or path.name.endswith(_MAKING)


def offered(base: Path, pattern: str) -> list[Path]:
    """The paths below `base` that match a pattern, sorted, without unfinished ones."""
    try:
        paths = sorted(base.glob(pattern))
    except OSError:  # a folder that may not be read offers nothing
        return []
    return [
        path for path in paths if not any(in_the_making(Path(part)) for part in path.relative_to(base).parts)
    ]


def modified(path: Path) -> int:
    """When a file was last written, in ns; 0 if it was deleted meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def check_name(path: Path) -> None:
    """UserError for a name that pages cannot show: not valid UTF-8, or with control characters."""
    if not path.name.isprintable():
        raise UserError(f"The name {shown(path)[-140:]} has characters that cannot be shown. Choose another.")


def shown(path: Path) -> str:
    """A path as text that every page can show."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(path))


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Lock an unfinished file or folder, so that it is not mistaken for the leftover of a killed process."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a running process holds a file or folder by `holding` or `folder_lock`."""
    lock = path / ".lock"
    for each in (path, lock) if lock.is_file() else (path,):
        handle = os.open(each, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
    return False


def check_replaceable(target: Path) -> None:
    """UserError for a folder, a pipe or a device; call it before a long computation."""
    if target.exists() and not target.is_file():
        raise UserError(f"{target} is not an ordinary file. Choose another file to write.")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on a clean exit it is flushed to disk and renamed to `target`.

    After an exception, `target` is as it was before. Raises UserError when the disk is full or the folder
    cannot be written, and when `target` is a folder or a device.
    """
    target = Path(target)
    with _writing(target):
        check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=LEFTOVER)
        os.close(handle)
        temporary = Path(name)
        try:
            with holding(temporary):
                yield temporary
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
                # mkstemp makes files private; give the file the permissions an ordinary open() would have.
                temporary.chmod(0o666 & ~_UMASK)
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Delete what killed writers of the files `names` left in `folder`, whose lock the caller holds."""
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
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=LEFTOVER))
        try:
            with holding(temporary):
                yield temporary
                temporary.chmod(0o777 & ~_UMASK)
                _take_the_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _take_the_place(temporary: Path, target: Path) -> None:
    """Rename a finished folder to `target`. A kill in between leaves the former one as NAME.old; see tidy."""
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_suffix(REPLACED)
    with holding(target):
        target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def temporary_place() -> Path | None:
    """The system's temporary folder; None if it is not writable."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A temporary folder of this process, removed at the end; see tidy."""
    place = temporary_place()
    if place is None:
        raise UserError(NO_TEMPORARY_PLACE)
    with _writing(place):
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{purpose}-", dir=place))
    try:
        with holding(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if needed; UserError if that is not possible."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def refuse_existing(target: Path, *, overwrite: bool = False) -> None:
    """Raise UserError if `target` is a file, or a non-empty folder that may not be overwritten."""
    check_name(target)
    with _writing(target):
        try:
            is_folder = stat.S_ISDIR(target.stat().st_mode)
        except FileNotFoundError:
            is_folder = not target.is_symlink()  # one that leads nowhere
    if not is_folder:
        raise UserError(f"{target} is no folder, but one is to be written there. Choose another --out.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UserError(f"{target} already exists. Choose another --out, or add --overwrite to replace it.")


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:  # a file's name that is no UTF-8 came in
        raise UserError(f"Cannot write {shown(target)}: a name in it is no text. Choose another.") from error
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused, since it is not JSON."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_figures(target: Path, report: Any) -> None:
    """Write a report of thousands of numbers as JSON on one line, atomically, at four significant digits."""
    text = json.dumps(plain(report, 4), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_text(target, text + "\n")


def open_file(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open an ordinary file; OSError for pipes (without waiting), others and, unless `follow`, links."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "It is not an ordinary file")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, *, what: str, most_bytes: int = MOST_BYTES) -> bytes:
    """A file's content; `what` names it in the UserError if it is missing, too large or not a file."""
    try:
        with open_file(Path(path)) as stream:
            content = stream.read(most_bytes + 1)
    except FileNotFoundError as error:
        raise UserError(f"{what} is missing: {path} does not exist.") from error
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        raise UserError(f"{what} cannot be read: {path}: {getattr(error, 'strerror', error)}.") from error
    if len(content) > most_bytes:
        raise UserError(f"{what} cannot be read: {path} is larger than {most_bytes:,} bytes.")
    return content


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON file within the bounds of `parse_json`; UserError for a missing or damaged one."""
    return parse_json(read_bytes(path, what=what), what=f"{what}, {path},")


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
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"Another process is writing {what} {folder}. Wait for it, stop it, or choose another folder."
            ) from error
        yield


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """UserError for an OSError of the block, which writes `target`."""
    try:
        yield
    except OSError as error:
        where, why = shown(target), error.strerror or str(error)
        if len(str(target)) > 300:
            where = f"{where[:140]}...{where[-140:]}"
        raise UserError(
            f"Cannot write {where}: {why}. Free space or choose a folder that you may write to."
        ) from error
