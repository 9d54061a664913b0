"""Compressed content, unpacked no further than its header allows: gigabytes of zeros fit a small file."""

from __future__ import annotations

import zlib

from lungvae_core.errors import UserError

GZIP = b"\x1f\x8b"
MOST_BYTES = 2**30  # of one file's numbers


def start(content: bytes, length: int, where: str, *, wbits: int = 31) -> bytes:
    """The first `length` bytes of compressed content, or all if they are fewer; `wbits` as in `inflate`."""
    parts: list[bytes] = []
    left, rest = length, content
    try:
        while left > 0 and rest:
            unpacker = zlib.decompressobj(wbits)
            piece = unpacker.decompress(rest, left)
            parts.append(piece)
            left -= len(piece)
            if not unpacker.eof:
                break
            rest = unpacker.unused_data.lstrip(b"\0")  # gzip's members may follow one another
    except zlib.error as error:
        raise UserError(f"{where} is damaged and cannot be unpacked. Export or download it again.") from error
    return b"".join(parts)


def inflate(content: bytes, length: int, where: str, *, wbits: int = 31) -> bytes:
    """Exactly `length` bytes of gzip's content (wbits 31), or of gzip's or zlib's (wbits 47).

    Never inflates further than `length`. Raises UserError where it is damaged or holds fewer.
    """
    check_size(length, where)
    unpacked = start(content, length, where, wbits=wbits)
    if len(unpacked) < length:
        raise UserError(
            f"{where} is damaged and cannot be unpacked: it ends too early. Export or download it again."
        )
    return unpacked


def check_size(length: int, where: str) -> None:
    """UserError for numbers of more than a gibibyte."""
    if length > MOST_BYTES:
        raise UserError(
            f"{where} unpacks to more than {MOST_BYTES / 2**30:g} GiB. Cut the lesion's slices out of it."
        )
