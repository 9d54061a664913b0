"""NRRD: .nrrd, and .nhdr whose numbers were joined to it (`formats.whole`)."""

from __future__ import annotations

import re

import numpy as np

from lungvae_core.data.volumes.grid import Grid, check_square
from lungvae_core.data.volumes.inflate import inflate
from lungvae_core.data.volumes.volume import Volume, as_levels, check_shape, one_volume
from lungvae_core.errors import UserError

SUFFIXES = (".nrrd", ".nhdr")
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_MOST_HEADER = 1_048_576  # segmentations keep their segments' names and colours in it
_DATA = re.compile(rb"^(?:data ?file)[ \t]*:[ \t]*([^\r\n]*)\r?\n", re.MULTILINE | re.IGNORECASE)


def data_file(content: bytes, where: str) -> tuple[str, slice]:
    """The name of the file with the numbers, "" where they follow the header; its line in the header."""
    head, _ = _split(content, where)
    line = _DATA.search(head)
    return (line[1].decode("utf-8", "replace").strip(), slice(*line.span())) if line else ("", slice(0, 0))


def read_nrrd(content: bytes, where: str) -> Volume:
    """One CT volume or slice with its numbers in the same file."""
    name, _ = data_file(content, where)
    if name:
        raise UserError(f"{where} keeps its numbers in {name}. Give both files together.")
    head, body = _split(content, where)
    fields = _fields(head)
    sizes, axes = _sizes(fields, where)
    shape = one_volume(sizes, where)
    kind = fields.get("type", "").lower()
    if kind not in _DTYPES:
        raise UserError(f"{where} holds {kind or 'numbers of no stated type'}, which is not read.")
    dtype = np.dtype(_DTYPES[kind])
    if dtype.itemsize > 1:
        if fields.get("endian", "").lower() not in ("little", "big"):
            raise UserError(f"{where} does not say the order of its bytes (endian). Save it again.")
        dtype = dtype.newbyteorder(">" if fields["endian"].lower() == "big" else "<")
    size = check_shape(shape[::-1], dtype.itemsize, where)
    levels = as_levels(_body(fields, body, size, where), dtype, shape[::-1], where)
    grid = _grid(fields, axes, len(levels), where)
    return Volume(levels, grid, None if grid is not None else _spacing(fields, axes, where))


def _spacing(fields: dict[str, str], axes: list[int], where: str) -> float | None:
    """The side of the pixels in mm, for a file that states it but no position."""
    try:
        stated = [float(value) for value in fields.get("spacings", "").split()]
    except ValueError:
        stated = [np.inf]
    if not stated or all(np.isnan(stated)):
        return None
    if len(stated) != len(axes):
        raise UserError(f"{where} has a damaged header: its spacings are {fields['spacings'][:60]}.")
    columns, rows = (abs(stated[axis]) for axis in axes[:2])
    return check_square(rows, columns, where)


def _split(content: bytes, where: str) -> tuple[bytes, memoryview]:
    """The header, and what follows the empty line behind it."""
    if not content.startswith(b"NRRD000"):
        raise UserError(
            f"{where} is no readable NRRD file: it is damaged or of another kind. Export it again."
        )
    end = re.search(rb"\n\n|\r\n\r\n", content[:_MOST_HEADER])
    if end is None:
        if len(content) > _MOST_HEADER:
            raise UserError(f"{where} is no readable NRRD file: its header has no end. Export it again.")
        return content + b"\n", memoryview(b"")
    return content[: (end.start() + end.end()) // 2], memoryview(content)[end.end() :]


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").splitlines()[1:]
    pairs = (
        line.split(":", 1) for line in lines if ":" in line and not line.startswith("#") and ":=" not in line
    )
    return {key.strip().lower(): value.strip() for key, value in pairs}


def _sizes(fields: dict[str, str], where: str) -> tuple[list[int], list[int]]:
    """The sizes of the axes, those in space first, and which axes of the file they are, fastest first."""
    try:
        sizes = [int(value) for value in fields["sizes"].split()]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{where} has a damaged header: its sizes are missing or no whole numbers."
        ) from error
    directions = _vectors(fields.get("space directions", ""))
    axes = list(range(len(sizes)))
    if len(directions) == len(sizes):
        # A list of values a voxel, such as segments or colours, is no axis in space; it must be of one.
        axes.sort(key=lambda axis: directions[axis] is None)
    return [sizes[axis] for axis in axes], axes


def _vectors(text: str) -> list[list[float] | None]:
    parts = re.findall(r"none|\([^)]*\)", text)
    try:
        return [
            None if part == "none" else [float(value) for value in part[1:-1].split(",")] for part in parts
        ]
    except ValueError:
        return []


def _body(fields: dict[str, str], body: memoryview, size: int, where: str) -> memoryview:
    encoding = fields.get("encoding", "").lower()
    for _ in range(_number(fields, "line skip", where)):
        at = bytes(body[:65_536]).find(b"\n")
        body = body[at + 1 :]
    skip = _number(fields, "byte skip", where)
    if encoding in ("gzip", "gz"):
        skip = max(skip, 0)
        return memoryview(inflate(bytes(body), size + skip, where))[skip:]
    if encoding != "raw":
        raise UserError(f"{where} is encoded as {encoding or 'nothing stated'}; raw and gzip are read.")
    return body[max(len(body) - size, 0) :] if skip == -1 else body[skip:]


def _number(fields: dict[str, str], name: str, where: str) -> int:
    stated = fields.get(name, fields.get(name.replace(" ", ""), "0"))
    if not re.fullmatch(r"-1|\d{1,9}", stated):
        raise UserError(f"{where} has a damaged header: {name} is {stated[:40]}.")
    return int(stated)


def _grid(fields: dict[str, str], axes: list[int], count: int, where: str) -> Grid | None:
    space = fields.get("space", "").lower()
    directions = _vectors(fields.get("space directions", ""))
    if not directions:
        return None
    if space not in _SPACES:
        raise UserError(
            f"{where} lies in the space {space or 'of no stated name'}, which is not the patient's."
        )
    units = {unit.lower() for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))}
    if units - {"mm", "millimeter", "millimeters", ""}:
        raise UserError(f"{where} gives its lengths in {', '.join(sorted(units))}; mm are needed.")
    placed = [directions[axis] for axis in axes] if len(directions) == len(axes) else directions
    vectors = [vector for vector in placed if vector is not None]
    origin = _vectors(fields.get("space origin", "(0,0,0)"))
    if len(vectors) < 2 or not origin or origin[0] is None or any(len(v) != 3 for v in [*vectors, origin[0]]):
        raise UserError(f"{where} has a damaged header: its space directions or origin.")
    sign = np.array(_SPACES[space], float)
    columns, rows = (np.array(vector) * sign for vector in vectors[:2])
    slices = np.array(vectors[2]) * sign if len(vectors) > 2 else np.cross(columns, rows)
    return Grid.even(np.array(origin[0]) * sign, slices, rows, columns, count)
