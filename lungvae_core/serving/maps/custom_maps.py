"""Maps with custom parameters: jobs that write a file in the workspace's cache.

UMAP and t-SNE of ten thousand slices take half a minute or more, too long for a request. A map's key is the
hash of its inputs, so a map is made only once, whoever requests it. Jobs for maps run one after the other.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungvae_core.errors import UserError
from lungvae_core.explore import maps
from lungvae_core.parameters import hex_key
from lungvae_core.serving.jobs.kinds import Map
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import FAILED as JOB_FAILED
from lungvae_core.serving.jobs.table import Job, place
from lungvae_core.serving.models.registry import LoadedModel

READY, MAKING, FAILED, ABSENT = "ready", "making", "failed", "absent"
MOST_WAITING = 6  # of all maps being made or waiting: one person must not fill the lane
_KEY = 16  # digits of a map's key
MOST_KEPT = 40  # in the cache; the oldest go first


@dataclass(frozen=True)
class Made:
    """The state of a map."""

    key: str
    state: str
    progress: str = ""  # in words, while it is made
    error: str = ""  # why it failed, for people


def key_of(model: LoadedModel, unit: str, method: str, dims: int, parameters: dict[str, Any]) -> str:
    """The key of a map; UserError for parameters that the method does not have."""
    if unit not in maps.UNITS or dims not in maps.DIMS:
        raise UserError(f"A map is of {' or '.join(maps.UNITS)}, in 2 or 3 dimensions.")
    inputs = {
        "codes": hashlib.sha256(np.ascontiguousarray(model.codes).tobytes()).hexdigest()[:16],
        "unit": unit,
        "method": method,
        "dims": dims,
        "parameters": maps.check_parameters(method, parameters),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:_KEY]


def request(
    model: LoadedModel, unit: str, method: str, dims: int, parameters: dict[str, Any] | None = None
) -> Made:
    """Start making the map unless it exists or is being made; UserError if it cannot be made."""
    parameters = parameters or {}
    key = key_of(model, unit, method, dims, parameters)
    current = status(model, key)
    if current.state in (READY, MAKING):
        return current
    jobs, path = Jobs(model.settings), _path(model, key)
    if sum(job.kind == Map.kind and job.active for job in jobs.all()) >= MOST_WAITING:
        raise UserError(f"{MOST_WAITING} maps are being made already. Wait for one, or stop it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path.parent)
    try:
        jobs.start(Map.of, key, model.entry.folder, unit, method, dims, parameters)
    except UserError:
        if status(model, key).state not in (READY, MAKING):  # requested at the same moment
            raise
    return status(model, key)


def status(model: LoadedModel, key: str) -> Made:
    """The state of the map with that key; "absent" if nobody requested it or it was stopped."""
    if _path(model, key).is_file():
        return Made(key, READY)
    job = _job(model, key)
    if job is not None and job.active:
        waits = "waiting for another map" if job.started is None else ""
        return Made(key, MAKING, waits or f"being made for {time.time() - (job.started or 0):.0f} s")
    if job is not None and job.status == JOB_FAILED:
        return Made(key, FAILED, error=job.message)
    return Made(key, ABSENT)


def stop(model: LoadedModel, key: str) -> Made:
    """Stop making a map; nothing is left of it."""
    job = _job(model, key)
    if job is not None and job.active:
        Jobs(model.settings).stop(job.id)
    return status(model, key)


def read(model: LoadedModel, unit: str, key: str) -> np.ndarray:
    """(N, dims) float32 of a map that is ready; UserError if it is not, or has other points."""
    if status(model, key).state != READY:
        raise UserError("This map is not made yet. Make it under Method beside the map.")
    try:
        positions = np.load(_path(model, key), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError("This map is damaged. Make it again under Method beside the map.") from error
    count = len(model.table if unit == "slice" else model.nodules[0])
    if positions.ndim != 2 or len(positions) != count:
        raise UserError("This map is of other lesions. Make it again under Method beside the map.")
    return positions.astype(np.float32)


def checked_key(key: str) -> str:
    """The key, if it is well formed; else ParameterError."""
    return hex_key("The map", key, _KEY)


def _path(model: LoadedModel, key: str) -> Path:
    return place(model.settings, Map.kind, checked_key(key))


def _job(model: LoadedModel, key: str) -> Job | None:
    return Jobs(model.settings).newest(Map.kind, checked_key(key))


def _tidy(folder: Path) -> None:
    """Keep the newest maps only."""
    kept = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MOST_KEPT - 1 :]:
        path.unlink(missing_ok=True)
