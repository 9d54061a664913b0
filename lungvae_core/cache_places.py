"""Cache folders for libraries on machines with few writable folders.

numba (UMAP's compiler), matplotlib, torch's compiler and fontconfig write below the home folder or beside
their own code, and some crash where they cannot. If the usual cache folder is not writable they get one below
a temporary folder; without that either, numba runs without a cache.
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
    """Whether `folder` is writable or could be created; checks without writing."""
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
    """Point the libraries' caches to a writable folder; call it before importing them.

    Folders set by the user stay if they are writable. Child processes inherit the setting.
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
    """A cache folder of this user in the first writable temporary folder, or None."""
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
    """Let numba compile in memory if no cache folder is writable; call it before `import umap`."""
    if os.environ.get("NUMBA_CACHE_DIR") or writable(usual_cache(os.environ)):
        return
    from numba.core.dispatcher import Dispatcher
    from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

    for kind in (Dispatcher, UFuncDispatcher):
        setattr(kind, "enable_caching", lambda self: None)  # noqa: B010
