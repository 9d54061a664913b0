"""Where the libraries in use may keep their caches, on machines on which few places can be written.

numba (UMAP's compiler), matplotlib, torch's compiler and fontconfig write below the home folder or beside
their own code, and some end in a trace where they cannot. Where the usual cache folder cannot be written they
get one of lungvae's own below a temporary folder; where there is none either, numba does without.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

# Each library's variable, and its folder within ours.
VARIABLES = {
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "TRITON_CACHE_DIR": "triton",
    "XDG_CACHE_HOME": "cache",
}


def writable(folder: Path) -> bool:
    """Whether files can be written in `folder`, or it could be made; nothing is written to find out."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except (OSError, ValueError, StopIteration):
        return False


def usual_cache(environment: MutableMapping[str, str]) -> Path:
    """The cache folder of the XDG base directories."""
    shared = Path(environment.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():
        return shared
    try:
        return Path.home() / ".cache"
    except (RuntimeError, KeyError):  # a user without a home
        return Path("/nonexistent")


def use_writable_caches(environment: MutableMapping[str, str] = os.environ) -> None:
    """Point the libraries' caches to a folder that can be written; to be called before they are imported.

    What a person has set stays where it can be written. Child processes inherit it.
    """
    usual_works = writable(usual_cache(environment))
    lacking = [
        name
        for name in VARIABLES
        if not (writable(Path(environment[name])) if environment.get(name) else usual_works)
    ]
    if not lacking:
        return
    folder = own_folder(environment)
    for name in lacking:
        if folder is None:
            environment.pop(name, None)
        else:
            environment[name] = str(folder / VARIABLES[name])


def own_folder(environment: MutableMapping[str, str]) -> Path | None:
    """A folder of this user's for caches in the first temporary place that can be written, or None."""
    places = [environment.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    for place in places:
        folder = Path(place) / f"lungvae-cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        # Nobody else may own it: what is read from a cache is run.
        if Path(place).is_dir() and writable(folder) and _is_own(folder):
            return folder
    return None


def _is_own(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        return not folder.is_symlink() and (not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid())
    except OSError:
        return False


def without_numba_cache() -> None:
    """Let numba compile in memory where its cache can be written nowhere; call it before `import umap`."""
    if os.environ.get("NUMBA_CACHE_DIR") or writable(usual_cache(os.environ)):
        return
    from numba.core.dispatcher import Dispatcher
    from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

    for kind in (Dispatcher, UFuncDispatcher):
        setattr(kind, "enable_caching", lambda self: None)  # noqa: B010
