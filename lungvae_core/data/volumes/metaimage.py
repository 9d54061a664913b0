"""MetaImage: .mha, and .mhd whose numbers were joined to it (`formats.whole`)."""

from __future__ import annotations

import re
import sys

import numpy as np

from lungvae_core.data.volumes.grid import Grid
from lungvae_core.data.volumes.inflate import inflate
from lungvae_core.data.volumes.volume import Volume, as_levels, check_shape, one_volume
from lungvae_core.errors import UserError

SUFFIXES = (".mha", ".mhd")
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # as ITK writes it
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MOST_HEADER = 65_536
_DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", re.MULTILINE)
LOCAL = b"ElementDataFile = LOCAL\n"


def data_file(content: bytes, where: str) -> tuple[str, slice]:
    """The name of the file with the numbers, "" where they follow the header; its line in the header."""
    line = _DATA.search(content[:_MOST_HEADER])
    if line is None:
        raise UserError(f"{where} is no readable MetaImage: it does not say where its numbers are.")
    name = line[1].decode("utf-8", "replace").strip()
    return ("" if name.upper() == "LOCAL" else name), slice(*line.span())


def read_metaimage(content: bytes, where: str) -> Volume:
    """One CT volume or slice with its numbers in the same file."""
    name, line = data_file(content, where)
    if name:
        raise UserError(f"{where} keeps its numbers in {name}. Give both files together.")
    fields = _fields(content[: line.start].decode("utf-8", "replace"))
    shape = one_volume(_whole(fields, "DimSize", where), where)
    if _whole(fields, "ElementNumberOfChannels", where, [1]) != [1]:
        raise UserError(f"{where} has several channels, such as colours. Save one of grey values.")
    kind = fields.get("ElementType", "").upper()
    if kind not in _TYPES:
        raise UserError(f"{where} holds {kind or 'numbers of no stated type'}, which is not read.")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if _is_big_endian(fields) else "<")
    size = check_shape(shape[::-1], dtype.itemsize, where)
    body = memoryview(content)[line.stop :]
    skip = _whole(fields, "HeaderSize", where, [0])[0]
    if fields.get("CompressedData", "False").lower() == "true":
        body = memoryview(inflate(bytes(body), size, where, wbits=47))
    elif skip > 0:
        body = body[skip:]
    elif skip == -1:
        body = body[max(len(body) - size, 0) :]
    levels = as_levels(body, dtype, shape[::-1], where)
    if fields.get("BinaryData", "True").lower() != "true":
        raise UserError(f"{where} holds its numbers as text. Save it as binary.")
    return Volume(levels, _grid(fields, len(_whole(fields, "DimSize", where)), len(levels), where))


def _fields(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _is_big_endian(fields: dict[str, str]) -> bool:
    for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        if name in fields:
            return fields[name].lower() == "true"
    return sys.byteorder == "big"


def _grid(fields: dict[str, str], dimensions: int, count: int, where: str) -> Grid | None:
    """Its place in the patient: MetaImage's axes are ITK's, which are DICOM's."""
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), dimensions, where)
    axes = _numbers(fields, ("TransformMatrix", "Orientation", "Rotation"), dimensions**2, where)
    origin = _numbers(fields, ("Offset", "Position", "Origin"), dimensions, where)
    if spacing is None:
        return None
    if min(spacing) <= 0:
        raise UserError(
            f"{where} has a damaged header: a spacing of {min(spacing):g} mm, which is not above 0."
        )
    sides, lies = np.ones(3), np.eye(3)
    sides[: min(dimensions, 3)] = spacing[:3]
    if axes is not None:
        part = np.array(axes).reshape(dimensions, dimensions)[:3, :3]
        lies[: len(part), : len(part)] = part
    first = np.zeros(3)
    if origin is not None:
        first[: min(dimensions, 3)] = origin[:3]
    columns, rows, slices = lies * sides[:, None]
    return Grid.even(first, slices, rows, columns, count)


def _numbers(fields: dict[str, str], names: tuple[str, ...], count: int, where: str) -> list[float] | None:
    for name in names:
        if name in fields:
            try:
                values = [float(value) for value in fields[name].split()]
            except ValueError:
                values = []
            if len(values) != count or not np.isfinite(values).all():
                raise UserError(f"{where} has a damaged header: {name} = {fields[name][:60]}.")
            return values
    return None


def _whole(fields: dict[str, str], name: str, where: str, default: list[int] | None = None) -> list[int]:
    if name not in fields and default is not None:
        return default
    try:
        return [int(value) for value in fields[name].split()]
    except (KeyError, ValueError) as error:
        raise UserError(f"{where} has a damaged header: {name} is missing or no whole number.") from error
