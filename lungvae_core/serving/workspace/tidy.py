"""Unfinished files of killed processes: listed and removed by `lungvae tidy` or when the app starts.

They are recognised by names that only the product uses (`files`). A running process holds a lock of the
operating system on its files; the lock is released when the process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lungvae_core.files import DELETED, LEFTOVER, PREPARING, REPLACED, TEMPORARY, is_held, temporary_place
from lungvae_core.serving.workspace.settings import Settings

DEEPEST = 6  # folders below the one that is looked through
# A dot, the final name, eight random letters, and the kind of change in progress.
_NAMED = re.compile(
    rf"\.(?P<of>.+)\.[a-z0-9_]{{8}}(?P<kind>{'|'.join(map(re.escape, (LEFTOVER, REPLACED, DELETED)))})"
)
_PREPARED = re.compile(rf"\.(?P<of>.+)(?P<kind>{re.escape(PREPARING)})")
_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}(?:check|backup)-[a-z0-9_]{{8}}")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that a killed process left."""

    path: Path
    kind: str  # the end of its name
    size: int  # bytes
    held: bool  # by a running process: then it is not a leftover
    becomes: Path | None = None  # the name to restore it to, if what had replaced it is missing

    @property
    def resumable(self) -> bool:
        """Whether the same command, run again, continues from it."""
        return self.kind == PREPARING

    @property
    def in_words(self) -> str:
        size = f"{self.size / 1e6:,.1f} MB"
        if self.held:
            return f"{size}, in use by a living process; it stays."
        if self.becomes is not None:
            name = self.becomes.name
            return f"{size}, the former {name}, which a killed command was replacing; it goes back."
        if self.resumable:
            return f"{size}, of an unfinished `lungvae prepare`, which would go on from it."
        return f"{size}, left by a killed command."


def default_folders(settings: Settings) -> list[Path]:
    """Where the product writes, and the system's temporary folder, if there is one."""
    own = [settings.models, settings.runs, settings.data, settings.workspace]
    temporary = temporary_place()
    return own if temporary is None else [*own, temporary]


def leftovers(folders: Iterable[Path]) -> list[Leftover]:
    """What killed processes left in and below the folders, by path; and what running ones are making."""
    seen: dict[Path, Leftover] = {}
    for folder in folders:
        for path, kind, of in _candidates(folder, DEEPEST):
            with contextlib.suppress(OSError):  # deleted meanwhile, or another user's
                target = path.with_name(of)
                becomes = target if kind == REPLACED and not target.exists() else None
                seen[path.resolve()] = Leftover(path, kind, _size(path), is_held(path), becomes)
    return [seen[path] for path in sorted(seen)]


def clear(leftover: Leftover) -> str:
    """Remove a leftover, or restore it; return a sentence on what was done."""
    try:
        if leftover.becomes is not None:
            leftover.path.rename(leftover.becomes)
            return "It is back."
        if leftover.path.is_dir() and not leftover.path.is_symlink():
            shutil.rmtree(leftover.path)
        else:
            leftover.path.unlink(missing_ok=True)
    except OSError as error:
        return f"It could not be removed: {error.strerror}."
    return "It is removed."


def clear_at_start(settings: Settings) -> list[str]:
    """Clear leftovers that no process holds and no command would continue; return sentences on each."""
    left = leftovers(default_folders(settings))
    return [
        f"{each.path}: {each.in_words} {clear(each)}" for each in left if not (each.held or each.resumable)
    ]


def _candidates(folder: Path, deepest: int) -> Iterator[tuple[Path, str, str]]:
    """(path, kind, final name) of everything whose name marks it as unfinished."""
    shared = folder == temporary_place()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        if shared:  # with other programs, which may use similar names
            if _TEMPORARY.fullmatch(entry.name):
                yield path, TEMPORARY, entry.name
        elif named := _NAMED.fullmatch(entry.name) or _PREPARED.fullmatch(entry.name):
            yield path, named["kind"], named["of"]
        elif deepest and entry.is_dir(follow_symlinks=False):
            yield from _candidates(path, deepest - 1)


def _size(path: Path) -> int:
    inside = [Path(root, name) for root, _, names in os.walk(path) for name in names] or [path]
    return sum(each.lstat().st_size for each in inside)
