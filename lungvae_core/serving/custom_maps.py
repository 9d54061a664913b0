"""Maps made with a person's own parameters, by a process of their own that can be stopped.

UMAP and t-SNE of ten thousand slices take half a minute and more, too long for a request. The process holds a
lock on a file of the map's key for as long as it works, and a lock cannot outlive it: a map is being made
exactly while its lock is held, whoever asks and whether or not the server was started anew. What it makes
stays in the workspace's cache, written under another name first.

Run as a module it is that process: python -m lungvae_core.serving.custom_maps ORDER.json
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungvae_core.errors import UserError
from lungvae_core.explore import maps
from lungvae_core.files import atomic_path, read_json, write_json
from lungvae_core.serving.registry import LoadedModel

READY, MAKING, FAILED, ABSENT = "ready", "making", "failed", "absent"
MOST_AT_ONCE = 2  # of all maps being made: each takes a core
MOST_KEPT = 40  # in the cache; the oldest go first


@dataclass(frozen=True)
class Made:
    """How a map is doing."""

    key: str
    state: str
    progress: str = ""  # in words, while it is made
    error: str = ""  # why it failed, for people


@dataclass(frozen=True)
class _Order:
    """What the process is told; its hash is the map's key."""

    folder: str
    codes: str  # hash of the codes that are laid out
    unit: str
    method: str
    dims: int
    parameters: dict[str, Any]


def key_of(model: LoadedModel, unit: str, method: str, dims: int, parameters: dict[str, Any]) -> str:
    """The key of a map; UserError for parameters that the method does not have."""
    return _key(_order(model, unit, method, dims, parameters))


def request(
    model: LoadedModel, unit: str, method: str, dims: int, parameters: dict[str, Any] | None = None
) -> Made:
    """Have the map made, unless it is there or being made already; UserError for what cannot be made."""
    order = _order(model, unit, method, dims, parameters or {})
    key, folder = _key(order), _folder(model)
    found = status(model, key)
    if found.state in (READY, MAKING):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    if sum(_held(path) for path in folder.glob("*.lock")) >= MOST_AT_ONCE:
        raise UserError(f"{MOST_AT_ONCE} maps are being made already. Wait for one, or stop it.")
    _tidy(folder)
    (folder / f"{key}.error").unlink(missing_ok=True)
    write_json(folder / f"{key}.json", asdict(order))
    lock = (folder / f"{key}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else asked at the same moment
        lock.close()
        return status(model, key)
    with lock:
        # The lock is handed on: it is held until the process has ended.
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder / f"{key}.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / f"{key}.log").open("w"),
            pass_fds=[lock.fileno()],
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        )
        lock.write(f"{process.pid} {time.time():.0f}")
        lock.flush()
    return status(model, key)


def status(model: LoadedModel, key: str) -> Made:
    """How the map of that key is doing; "absent" where nobody asked for it, or it was stopped."""
    folder = _folder(model)
    if not _valid(key):
        raise UserError("There is no such map. Choose the parameters again.")
    if (folder / f"{key}.npy").is_file():
        return Made(key, READY)
    if _held(folder / f"{key}.lock"):
        seconds = time.time() - _started(folder / f"{key}.lock")
        return Made(key, MAKING, f"being made for {max(seconds, 0):.0f} s")
    if (folder / f"{key}.error").is_file():
        return Made(key, FAILED, error=(folder / f"{key}.error").read_text(encoding="utf-8"))
    return Made(key, ABSENT)


def stop(model: LoadedModel, key: str) -> Made:
    """Stop making a map; nothing is left of it."""
    path = _folder(model) / f"{key}.lock"
    if _valid(key) and _held(path):
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)
        for _ in range(100):
            if not _held(path):
                break
            time.sleep(0.02)
    return status(model, key)


def read(model: LoadedModel, unit: str, key: str) -> np.ndarray:
    """(N, dims) float32 of a map that is ready; UserError where it is not, or of other points."""
    if status(model, key).state != READY:
        raise UserError("This map is not made yet. Make it under Method beside the map.")
    try:
        found = np.load(_folder(model) / f"{key}.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError("This map is damaged. Make it again under Method beside the map.") from error
    count = len(model.table if unit == "slice" else model.nodules[0])
    if found.ndim != 2 or len(found) != count:
        raise UserError("This map is of other lesions. Make it again under Method beside the map.")
    return found.astype(np.float32)


def _order(model: LoadedModel, unit: str, method: str, dims: int, parameters: dict[str, Any]) -> _Order:
    if unit not in maps.UNITS or dims not in maps.DIMS:
        raise UserError(f"A map is of {' or '.join(maps.UNITS)}, in 2 or 3 dimensions.")
    digest = hashlib.sha256(np.ascontiguousarray(model.codes).tobytes()).hexdigest()[:16]
    settings = maps.check_parameters(method, parameters)
    return _Order(str(model.entry.folder.resolve()), digest, unit, method, dims, settings)


def _key(order: _Order) -> str:
    told = {**asdict(order), "folder": ""}  # a model that was moved keeps its maps
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _valid(key: str) -> bool:
    return len(key) == 16 and all(letter in "0123456789abcdef" for letter in key)


def _folder(model: LoadedModel) -> Path:
    return model.settings.workspace / "cache" / "maps"


def _held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _started(path: Path) -> float:
    try:
        return float(path.read_text().split()[1])
    except (OSError, ValueError, IndexError):  # just about to be written
        return time.time()


def _tidy(folder: Path) -> None:
    """Keep the newest maps only."""
    kept = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MOST_KEPT - 1 :]:
        for ending in (".npy", ".json", ".lock", ".log", ".error"):
            path.with_suffix(ending).unlink(missing_ok=True)


def main(path: Path) -> None:
    """Make the map that the order in `path` asks for; a failure is left in words beside it."""
    from lungvae_core.explore.neighbours import features
    from lungvae_core.training.checkpoints import Run

    try:
        order = _Order(**read_json(path, what="The order of a map"))
        run = Run.open(order.folder)
        table, codes = run.latents()
        if order.unit == "nodule":
            codes = maps.nodules(table, codes)[1]
        inputs = features(codes, run.config.model.prior)
        found = maps.project(inputs, order.method, dims=order.dims, **order.parameters)
        with atomic_path(path.with_suffix(".npy")) as temporary, temporary.open("wb") as stream:
            np.save(stream, found)
    except UserError as error:
        path.with_suffix(".error").write_text(str(error), encoding="utf-8")
    except Exception as error:  # the log has the trace; the page needs a sentence
        path.with_suffix(".error").write_text(
            f"The map could not be made ({type(error).__name__}). Try other parameters.", encoding="utf-8"
        )
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
