"""Damage to bytes, as disks, networks and people with bad intent do it; a seed says which, to do it again."""

from __future__ import annotations

import re

import numpy as np

INTERESTING = [0, 1, 0x7F, 0x80, 0xFF]
WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 2**31 - 4096, 4097]
NUMBERS = [
    b"NaN",
    b"1e999",
    b"-1",
    b"0",
    b"null",
    b"[]",
    b"{}",
    b'"a"',
    b"9" * 40,
    b"1e-320",
    b"true",
    b"0.5",
]
TEXTS = [
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "\x00",
    "😀" * 20,
    "a" * 5000,
    "' OR 1=1 --",
    "%00",
    "",
]
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def mutated(content: bytes, others: list[bytes], seed: int) -> bytes:
    """`content` after one to eight kinds of damage; `others` are whole inputs that pieces may come from."""
    generator = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 9))):
        data = bytearray(_once(data, others, generator))
    return bytes(data)


def _once(data: bytearray, others: list[bytes], generator: np.random.Generator) -> bytes:
    size = len(data)
    if size == 0:
        return generator.bytes(int(generator.integers(0, 64)))
    # Half of all damage falls on the beginning, where formats keep what they say of themselves.
    at = int(generator.integers(0, min(size, 400) if generator.random() < 0.5 else size))
    length = int(min(size - at, 2 ** generator.integers(0, 12)))
    kind = int(generator.integers(0, 10))
    if kind == 0:
        data[at] ^= 1 << int(generator.integers(0, 8))
    elif kind == 1:
        data[at] = INTERESTING[int(generator.integers(len(INTERESTING)))]
    elif kind == 2:
        word = WORDS[int(generator.integers(len(WORDS)))]
        order = "little" if generator.random() < 0.7 else "big"
        data[at : at + 4] = word.to_bytes(4, order)
    elif kind == 3:
        del data[at : at + length]
    elif kind == 4:
        data[at:at] = data[at : at + length]
    elif kind == 5:
        data[at:at] = generator.bytes(length)
    elif kind == 6:
        del data[at:]
    elif kind == 7:
        other = others[int(generator.integers(len(others)))]
        begin = int(generator.integers(0, max(len(other), 1)))
        data[at : at + length] = other[begin : begin + length]
    elif kind == 8:
        numbers = list(NUMBER.finditer(bytes(data[:200_000])))
        if numbers:
            found = numbers[int(generator.integers(len(numbers)))]
            data[found.start() : found.end()] = NUMBERS[int(generator.integers(len(NUMBERS)))]
    else:
        text = TEXTS[int(generator.integers(len(TEXTS)))].encode()
        data[at : at + len(text)] = text
    return bytes(data[: 4 * size + 10_000])
