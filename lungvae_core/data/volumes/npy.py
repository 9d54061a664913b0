"""Numpy's npy files; never a pickle."""

from __future__ import annotations

import io
import math
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

from lungvae_core.data.volumes.volume import Volume, check_shape
from lungvae_core.errors import UserError


def load_array(path: Path) -> np.ndarray:
    """An npy file's array, memory-mapped; UserError when missing or damaged."""
    if not path.is_file():
        raise UserError(f"There is no file at {path}.")
    try:
        return np.lib.format.open_memmap(path, mode="r")  # of npy alone: np.load also opens zips and pickles
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path) from error


def read_npy(content: bytes, where: str) -> Volume:
    """A slice (rows, columns) or a stack (slices, rows, columns) of numbers."""
    array = _parse(content, where)
    if array.ndim not in (2, 3) or array.size == 0:
        raise UserError(f"{where} has the shape {array.shape}; a slice or a stack of slices is needed.")
    stack = array[None] if array.ndim == 2 else array
    check_shape(stack.shape, stack.itemsize, where)
    return Volume(stack)


def _parse(content: bytes, where: str) -> np.ndarray:
    """The array; its header may not claim more numbers than there are bytes for."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header: Any = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            header = np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = header(stream)
        truncated = math.prod(shape) * dtype.itemsize > len(content) - stream.tell()
        if dtype.hasobject or dtype.subdtype is not None or truncated:
            raise ValueError("objects, arrays in an array, or fewer numbers than the header says")
        array = np.frombuffer(content, dtype, math.prod(shape), offset=stream.tell())
    # numpy reads the header as Python's own text, and lets its tokeniser's errors through.
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise _unreadable(where) from error
    return array.reshape(shape, order="F" if columns_first else "C")


def _unreadable(where: str | Path) -> UserError:
    return UserError(f"{where} is not a readable npy array: it is damaged or holds objects. Save it again.")
