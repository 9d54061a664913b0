"""Parquet files read within bounds: the memory that a file needs is computed before it is read.

A few kilobytes can declare a billion rows, pages that inflate to gigabytes, or a long text in every row. The
format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lungvae_core.errors import UserError
from lungvae_core.files import open_file

MOST_ROWS = 5_000_000
MOST_COLUMNS = 10_000
MOST_FOOTER = 16 << 20  # bytes of the description at the file's end
# Bytes in memory: what a small file may take, and how many times its size a larger one; codes hardly shrink.
LEAST, TIMES = 256 << 20, 50


def read_parquet(path: Path) -> pd.DataFrame:
    """The table of a file; UserError where it is beyond the bounds, pyarrow's errors where it is damaged."""
    with open_file(path) as stream:
        return read_stream(stream, path)


def read_stream(stream: BinaryIO, path: Path, *, lists: bool = False) -> pd.DataFrame:
    """Like `read_parquet`, for an open file; `path` names it in messages.

    `lists` allows lists as values, such as readers' ratings, which tables written by lungvae do not have.
    """
    size = stream.seek(0, 2)
    stream.seek(-8, 2)
    footer = int.from_bytes(stream.read(4), "little")
    if footer > MOST_FOOTER:
        raise UserError(f"{path} is damaged: its description would have {footer:,} bytes.")
    most = max(LEAST, TIMES * size)
    stream.seek(0)
    described = pq.read_metadata(stream)
    if described.num_rows > MOST_ROWS or described.num_columns > MOST_COLUMNS:
        raise _too_large(path, f"{described.num_rows:,} rows of {described.num_columns:,} columns")
    schema = described.schema.to_arrow_schema()
    texts = _texts(path, schema, lists=lists)
    inflated = sum(_inflated(stream, described, size))
    widths = sum(_width(field.type) for field in schema)
    if inflated > most or described.num_rows * widths > most:
        raise _too_large(path, f"more than {most:,} bytes in memory")
    stream.seek(0)
    _check_texts(path, stream, texts, most)
    stream.seek(0)
    return pd.read_parquet(stream)


def _too_large(path: Path, what: str) -> UserError:
    return UserError(f"{path} cannot be read: it claims {what}, which is too much.")


def _width(kind: pa.DataType) -> int:
    """Bytes of one value in memory; 8 for a reference to a text, whose own are counted as pages."""
    return kind.bit_width // 8 + 1 if pa.types.is_primitive(kind) else 8


def _texts(path: Path, schema: pa.Schema, *, lists: bool) -> list[str]:
    """The columns of texts; UserError for one of values within values, but for `lists` of numbers."""
    names = []
    for field in schema:
        if lists and pa.types.is_list(field.type) and pa.types.is_primitive(field.type.value_type):
            continue
        if pa.types.is_nested(field.type):
            raise UserError(f"{path} is damaged: its column {field.name[:60]!r} has tables within cells.")
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            names.append(field.name)
    return names


def _check_texts(path: Path, stream: Any, names: list[str], most: int) -> None:
    """Refuse texts that take more than `most` bytes once every row has its own."""
    if not names:
        return
    table = pq.read_table(stream, columns=names, read_dictionary=names)
    total = sum(
        (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) * len(chunk)
        for column in table.columns
        for chunk in column.chunks
    )
    if total > most:
        raise _too_large(path, f"up to {total:,} bytes of text")


def _inflated(stream: Any, described: pq.FileMetaData, size: int) -> Iterator[int]:
    """Bytes of each page when inflated, by its own header, which is the one that readers use."""
    for number in range(described.num_row_groups):
        group = described.row_group(number)
        for at in range(group.num_columns):
            column = group.column(at)
            start = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset:
                start = min(start, column.dictionary_page_offset)
            length = column.total_compressed_size
            if start < 0 or length < 0 or start + length > size:
                raise ValueError("a column lies outside the file")
            stream.seek(start)
            content, place = stream.read(length), 0
            while place < length:
                header = _Compact(content, place)
                fields = header.struct()
                inflated, compressed = fields[2], fields[3]
                if inflated < 0 or compressed < 0:
                    raise ValueError("a page has a negative size")
                yield inflated
                place = header.place + compressed


class _Compact:
    """Thrift's compact protocol, as far as a page's header needs it: the integers of a struct by field.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The fields of a struct that are integers; IndexError or ValueError where it is damaged."""
        if depth > 8:
            raise ValueError("a page's header is nested too deep")
        fields: dict[int, int] = {}
        field = 0
        while (byte := self._byte()) != 0:
            field = field + (byte >> 4) if byte >> 4 else self._integer()
            value = self._value(byte & 15, depth)
            if value is not None:
                fields[field] = value
        return fields

    def _value(self, kind: int, depth: int, *, element: bool = False) -> int | None:
        fixed = {1: element, 2: element, 3: 1, 7: 8}  # a field's boolean is its type; a list's has a byte
        if kind in fixed:
            self.place += fixed[kind]
        elif kind in (4, 5, 6):
            return self._integer()
        elif kind == 8:
            length = self._varint()
            self.place += length
        elif kind in (9, 10):
            byte = self._byte()
            count = byte >> 4 if byte >> 4 < 15 else self._varint()
            for _ in range(count):
                self._value(byte & 15, depth + 1, element=True)
                self._within()
        elif kind == 12:
            self.struct(depth + 1)
        else:
            raise ValueError(f"a page's header has a field of type {kind}")
        self._within()
        return None

    def _within(self) -> None:
        if self.place > len(self.content):
            raise ValueError("a page's header is cut short")

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number in a page's header has too many bytes")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
