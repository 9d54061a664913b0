"""The folders that the server may read: its own four, and those that its owner named.

Every path from a page, a job or the database is checked here. The database stores a path as `runs/NAME`: the
folder's kind and the path below it, so that it stays valid wherever the folders are.
LUNGVAE_SOURCES (`lungvae app --sources`) names the folders below which the server may read scans and tables
of diagnoses for people, joined by the system's path separator. By default these are the data folder and the
home folder of the user who runs the server; if others can reach the server, only the data folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lungvae_core import parameters
from lungvae_core.errors import UserError
from lungvae_core.parameters import shown
from lungvae_core.serving.workspace import access
from lungvae_core.serving.workspace.settings import Settings

SOURCES = "LUNGVAE_SOURCES"
LONGEST = 4_096  # characters per path


def roots(settings: Settings) -> dict[str, Path]:
    """The server's own folders by their kind."""
    kinds = ("models", "runs", "data", "workspace")
    return {kind: Path(getattr(settings, kind)).resolve() for kind in kinds}


def sources(settings: Settings) -> list[Path]:
    """The folders below which scans and tables may be read."""
    if SOURCES in os.environ:
        named = [Path(part).expanduser() for part in os.environ[SOURCES].split(os.pathsep) if part]
    elif access.current().local_only:
        named = [Path.home()]
    else:
        named = []
    return [settings.data.resolve(), *(folder.resolve() for folder in named if folder.is_absolute())]


def source(settings: Settings, text: str | Path) -> Path:
    """The folder of scans that a person named, with links resolved; UserError unless it may be read."""
    return _named(settings, text, "folder", Path.is_dir)


def source_file(settings: Settings, text: str | Path) -> Path:
    """The file that a person named, with links resolved; UserError unless it may be read."""
    return _named(settings, text, "file", Path.is_file)


def _named(settings: Settings, text: str | Path, kind: str, is_kind: Callable[[Path], bool]) -> Path:
    """A path that a person named, with links resolved; UserError unless it exists below a source."""
    given = Path(parameters.text(f"The {kind}", str(text), LONGEST)).expanduser()
    resolved = _resolved(given) if given.is_absolute() else None
    # The same message whether it exists or not, so that nobody learns what lies elsewhere on the machine.
    if resolved is None or not _within(resolved, sources(settings)):
        raise UserError(
            f"{shown(text)} is not below a folder that this server reads. Whoever runs the server names such "
            f"folders with {SOURCES} or `lungvae app --sources`. Give the whole path, from / on."
        )
    if not is_kind(resolved):
        raise UserError(f"There is no {kind} {shown(text)} on this server.")
    return resolved


def stored(settings: Settings, path: str | Path) -> str:
    """A path as the database stores it; UserError for one that `opened` would refuse."""
    resolved = _opened(settings, str(Path(path).absolute()))
    if resolved is None:
        raise UserError(
            f"{shown(path)} lies outside this server's folders. Put it in one of them, or name its folder in "
            f"{SOURCES}."
        )
    for kind, root in roots(settings).items():
        if resolved.is_relative_to(root):
            return f"{kind}/{resolved.relative_to(root).as_posix()}"
    return str(resolved)


def opened(settings: Settings, text: str) -> Path:
    """The path for a text made by `stored`, with links resolved; UserError if it leads elsewhere.

    Earlier versions stored absolute paths: these are accepted inside the server's folders or sources.
    """
    resolved = _opened(settings, parameters.text("A path in the database", text, LONGEST))
    if resolved is None:
        raise UserError(
            f"The database names {shown(text)}, which lies outside this server's folders, and it was not "
            f"opened. If it is to be used, name its folder in {SOURCES}."
        )
    return resolved


def _opened(settings: Settings, text: str) -> Path | None:
    own = roots(settings)
    kind, _, rest = text.partition("/")
    if text.startswith("/"):
        path, allowed = Path(text), [*own.values(), *sources(settings)]
    elif kind in own and rest:
        path, allowed = own[kind] / rest, [own[kind], *sources(settings)]
    else:
        return None
    resolved = None if ".." in path.parts else _resolved(path)
    return resolved if resolved is not None and _within(resolved, allowed) else None


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long, a null byte
        return None


def _within(path: Path, folders: list[Path]) -> bool:
    return any(path != folder and path.is_relative_to(folder) for folder in folders)
