"""Files of weights: tensors with a JSON state, hashed, and checked before anything is allocated for them.

The format is safetensors: eight bytes with the header's length, the header as JSON, the numbers
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path, open_file, read_json
from lungvae_core.json_text import parse_json

MOST_HEADER = 2 << 20  # bytes; a band of thirty classifiers has 0.1 million
MOST_BYTES = 2 << 30  # of numbers; the paper's widest network with 4,096 dimensions has 1.3 GB
_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}
_FLOATS = {"F16", "BF16", "F32"}  # halves are read into single precision
Network = TypeVar("Network", bound=nn.Module)
_EXACT = {torch.int64: "I64", torch.uint8: "U8", torch.int8: "I8"}
_STEP = ".step"  # after the name of a tensor in 8 bits: what its whole numbers count, one float a row
_HASH = "content_sha256"  # in the state: the hash of the tensors
_LARGE = 2**14  # numbers; smaller tensors are not worth rounding


@dataclass(frozen=True)
class Header:
    """Names, types and shapes of a file's tensors, and the JSON state beside them."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    state: dict[str, Any]
    nbytes: int  # of the numbers


def read_header(path: Path) -> Header:
    """The header of a safetensors file; UserError where it is damaged or beyond the bounds."""
    try:
        with open_file(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MOST_HEADER, size - 8):
                raise ValueError(f"its header would have {length:,} bytes")
            raw = parse_json(stream.read(length), what="Its header")
        if not isinstance(raw, dict):
            raise ValueError("its header is no object")
        metadata = raw.pop("__metadata__", {})
        text = metadata.get("state", "{}") if isinstance(metadata, dict) else "{}"
        state = parse_json(text, what="Its state") if isinstance(text, str) else None
        if not isinstance(state, dict):
            raise ValueError("its state is no object")
        return Header(_tensors(raw, size - 8 - length), state, size - 8 - length)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: the model has no weights there.") from error
    except (OSError, ValueError, TypeError, KeyError, struct.error, UserError) as error:
        raise UserError(f"{path} is damaged and cannot be read ({error}).") from error


def _tensors(raw: dict[str, Any], size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """(type, shape) by name; ValueError unless they fill the `size` bytes without gap or overlap."""
    tensors, spans = {}, []
    for name, entry in raw.items():
        kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not all(type(value) is int and value >= 0 for value in (*shape, start, stop)):
            raise ValueError(f"{name[:60]!r} has sizes that are no whole numbers")
        if stop - start != math.prod(shape) * _BYTES.get(kind, -1):
            raise ValueError(f"{name[:60]!r} claims another size than it has")
        tensors[name] = (kind, tuple(shape))
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = stop
    if end != size:
        raise ValueError(f"its tensors have {end:,} bytes, and the file has {size:,}")
    return tensors


def compact(weights: Mapping[str, Tensor], exact: Callable[[str], bool]) -> dict[str, Tensor]:
    """Weights for shipping: large matrices and kernels in 8 bits, small ones in float16, vectors as they are.

    In 8 bits a row is whole numbers from -127 to 127, times a step of its own. Those whose name is
    `exact` are in float16 however large they are.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim < 2:
            stored[name] = tensor
        elif tensor.numel() < _LARGE or exact(name):
            stored[name] = tensor.half()
        else:
            step = tensor.flatten(1).abs().amax(1).float().clamp(min=torch.finfo(torch.float32).tiny) / 127
            stored[name] = (tensor / _along_rows(step, tensor)).round().to(torch.int8)
            stored[name + _STEP] = step
    return stored


def as_stored(header: Header, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file must have for `expected` (on the meta device) where `compact` has rounded some of them."""
    stored: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        if name + _STEP in header.tensors and tensor.is_floating_point() and tensor.ndim > 1:
            stored[name] = tensor.to(torch.int8)
            stored[name + _STEP] = tensor.new_empty(len(tensor))
        else:
            stored[name] = tensor
    return stored


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of tensors by `compact`."""
    steps = {name.removesuffix(_STEP): step for name, step in tensors.items() if name.endswith(_STEP)}
    return {
        name: tensor * _along_rows(steps[name], tensor) if name in steps else tensor
        for name, tensor in tensors.items()
        if not name.endswith(_STEP)
    }


def _along_rows(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def on_meta(make: Callable[[], Network]) -> Network:
    """A network without weights, which takes no memory whatever its declared size."""
    with torch.device("meta"):
        return make()


def filled(network: Network, tensors: Mapping[str, Tensor]) -> Network:
    """The network of `on_meta` with these numbers, in single precision and memory of its own, to evaluate."""
    own = {
        name: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tensors.items()
    }
    network.load_state_dict(own, assign=True)
    return network.eval()


def check_fits(header: Header, expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the header has the names, types and shapes of `expected`, within the bound."""
    if header.nbytes > MOST_BYTES:
        raise ValueError(f"it has {header.nbytes:,} bytes of numbers, and {MOST_BYTES:,} are the most")
    if header.tensors.keys() != expected.keys():
        odd = sorted(header.tensors.keys() ^ expected.keys())[0]
        raise ValueError(f"{odd[:60]!r} is missing or too much")
    for name, tensor in expected.items():
        kind, shape = header.tensors[name]
        if shape != tuple(tensor.shape):
            raise ValueError(f"{name!r} has the shape {shape}, not {tuple(tensor.shape)}")
        if kind not in (_FLOATS if tensor.is_floating_point() else {_EXACT.get(tensor.dtype)}):
            raise ValueError(f"{name!r} has the type {kind}, not {tensor.dtype}")


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a number is NaN or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name!r} has numbers that are not finite")


def save_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON state as one safetensors file, atomically, with their hash."""
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry only: the library writes several in an order of its own, and equal runs are equal files.
    metadata = {"state": json.dumps({**state, _HASH: content_hash(contiguous)})}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=metadata)
        except SafetensorError as error:
            raise UserError(f"Cannot write {path}: {error}. Free space, or choose another folder.") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, JSON state) of a file written by `save_tensors`; UserError when missing or damaged.

    A file whose tensors do not match their hash is damaged, too. The hash is in the file, or for older files
    in hashes.json beside it; a file without a hash is accepted.
    """
    state = read_header(path).state
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged and cannot be read ({error}).") from error
    expected = state.pop(_HASH, None) or _hash_beside(path)
    if expected and expected != content_hash(tensors):
        raise UserError(
            f"{path} is damaged: its numbers are not those that were written. Copy it again, or train anew."
        )
    return tensors, state


def load_network(
    path: Path, make: Callable[[dict[str, Any]], Network], *, apart: tuple[str, Path] | None = None
) -> Network:
    """The network of a file, which `make` builds from its state, on the CPU in evaluation mode.

    Weights whose names begin with the first of `apart` may be missing in it: they are in the second, a file
    of their own, without that beginning. The files' declared contents are compared with the network before
    anything is allocated. UserError when one is missing or damaged, does not fit, or has a number that is not
    finite.
    """
    with fitting(path):
        header = read_header(path)
        network = on_meta(lambda: make(header.state))
        expected = network.state_dict()
        start, beside = apart or ("", path)
        elsewhere = {
            name: expected.pop(name)
            for name in list(expected)
            if apart and name.startswith(start) and name not in header.tensors
        }
        tensors = _fitting_tensors(path, header, expected)
    if elsewhere:
        with fitting(beside):
            own = {name.removeprefix(start): tensor for name, tensor in elsewhere.items()}
            more = _fitting_tensors(beside, read_header(beside), own)
            tensors |= {start + name: tensor for name, tensor in more.items()}
    with fitting(path):
        return filled(network, tensors)


def _fitting_tensors(path: Path, header: Header, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's weights; ValueError where they are not as `expected`, or not finite."""
    check_fits(header, as_stored(header, expected))
    tensors, _ = load_tensors(path)
    check_numbers(tensors)
    return restored(tensors)


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn errors of a file that does not fit its purpose into a UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = (
            "its state lacks a setting or has a wrong one" if isinstance(error, ValidationError) else error
        )
        raise UserError(
            f"{path} is damaged: its numbers do not fit the model or are not finite ({reason})."
        ) from error


def _hash_beside(path: Path) -> str | None:
    listed = path.parent / "hashes.json"
    hashes = read_json(listed, what="The list of hashes") if listed.is_file() else {}
    return str(hashes[path.name]) if isinstance(hashes, dict) and path.name in hashes else None


def content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256, in hex, of tensors in the order of their names: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
