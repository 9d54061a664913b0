"""Which folders of the machine the server reads: its own four, and those that its owner named.

Every path that comes from a page, a job or the database passes through here. In the database a path is kept
as `runs/NAME`: the folder's kind and what is below it, so that it means the same wherever the folders lie.
LUNGVAE_SOURCES (`lungvae app --sources`) names the folders below which people may have scans and tables of
diagnoses read, with the system's separator of paths between them. Without it these are the data folder and
the home folder of whoever runs the server, but on a server that others can reach the data folder alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from lungvae_core import parameters
from lungvae_core.errors import UserError
from lungvae_core.parameters import shown
from lungvae_core.serving.workspace import access
from lungvae_core.serving.workspace.settings import Settings

SOURCES = "LUNGVAE_SOURCES"
LONGEST = 4_096  # characters of a path


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
    """The folder that a person names to have scans read from, its links resolved; UserError for any other."""
    resolved = _named(settings, text, "folder")
    if not resolved.is_dir():
        raise UserError(f"There is no folder {shown(text)} on this server.")
    return resolved


def source_file(settings: Settings, text: str | Path) -> Path:
    """The file that a person names to have it read, its links resolved; UserError for any other."""
    resolved = _named(settings, text, "file")
    if not resolved.is_file():
        raise UserError(f"There is no file {shown(text)} on this server.")
    return resolved


def _named(settings: Settings, text: str | Path, kind: str) -> Path:
    """A path that a person names, its links resolved; UserError unless it lies below a source."""
    given = Path(parameters.text(f"The {kind}", str(text), LONGEST)).expanduser()
    resolved = _resolved(given) if given.is_absolute() else None
    # The same sentence whether it is there or not: people are not told what lies elsewhere on the machine.
    if resolved is None or not _within(resolved, sources(settings)):
        raise UserError(
            f"{shown(text)} is not below a folder that this server reads. Whoever runs the server names such "
            f"folders with {SOURCES} or `lungvae app --sources`. Give the whole path, from / on."
        )
    return resolved


def stored(settings: Settings, path: str | Path) -> str:
    """A path as the database keeps it; UserError for one that `opened` would refuse."""
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
    """The path behind what `stored` made, its links resolved; UserError where it leads anywhere else.

    Earlier versions stored whole paths: they are taken where they lie in the server's folders or sources.
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
