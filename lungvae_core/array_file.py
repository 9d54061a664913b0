"""Arrays written to disk part by part, by ordinary writes.

A write through a memory map cannot raise: on a full disk the system kills the process (SIGBUS). So we write
without one, and a full disk raises an ordinary error.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lungvae_core.files import atomic_path


class ArrayFile:
    """A new npy file whose rows are assigned in any order; disk space is reserved at the start."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._stream = path.open("wb", buffering=0)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, header)
        self._start = self._stream.tell()
        self._row = int(np.prod(shape[1:])) * self.dtype.itemsize
        self._reserve(shape[0] * self._row)

    def __setitem__(self, rows: int | slice | np.ndarray, values: Any) -> None:
        at = rows if isinstance(rows, np.ndarray) else np.atleast_1d(range(self.shape[0])[rows])
        values = np.broadcast_to(np.asarray(values).astype(self.dtype), (len(at), *self.shape[1:]))
        for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) != 1) + 1):
            if len(run):
                self._stream.seek(self._start + int(at[run[0]]) * self._row)
                self._write(np.ascontiguousarray(values[run[0] : run[-1] + 1]))

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stream:
            if error is None:
                os.fsync(self._stream.fileno())

    def _write(self, values: np.ndarray) -> None:
        left = values.view(np.uint8).reshape(-1)
        while len(left):
            left = left[self._stream.write(left.data) :]  # a full disk takes a part, then raises

    def _reserve(self, size: int) -> None:
        """Reserve all of the space at once, so that a full disk is noticed before hours of work."""
        end = self._start + size
        try:
            if size:
                os.posix_fallocate(self._stream.fileno(), 0, end)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            self._stream.truncate(end)


def write_array(target: Path, array: np.ndarray) -> None:
    """Write an array as an npy file, atomically; UserError where the disk is full or cannot be written."""
    with atomic_path(target) as temporary, ArrayFile(temporary, array.dtype, array.shape) as file:
        file[:] = array
