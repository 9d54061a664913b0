"""Weights files: their claims are checked before anything is allocated, and rounding is small."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lungvae_core.errors import UserError
from lungvae_core.training import weights_file
from lungvae_core.training.weights_file import (
    as_stored,
    check_fits,
    check_numbers,
    compact,
    filled,
    on_meta,
    read_header,
    restored,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "w.safetensors", metadata={"state": json.dumps({"kind": "mlp"})})
    return tmp_path / "w.safetensors"


def test_a_header_has_types_shapes_and_the_state(path: Path) -> None:
    header = read_header(path)
    assert header.tensors == {"a": ("F32", (2, 3)), "b": ("I64", (4,))}
    assert header.state == {"kind": "mlp"}
    assert header.nbytes == 6 * 4 + 4 * 8
    check_fits(header, TENSORS)


def change(edit: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        header = edit(header) or header
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return changed


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[:5], "is damaged"),
        (lambda content: content[:-1], "and the file has"),
        (lambda content: struct.pack("<Q", 2**40) + content[8:], "its header would have"),
        (change(lambda header: [header]), "its header is no object"),
        (change(lambda header: header["a"].update(shape=[2, 300])), "'a' claims another size than it has"),
        (change(lambda header: header["a"].update(shape=[2, 1.5])), "sizes that are no whole numbers"),
        (change(lambda header: header["a"].update(dtype="C64")), "'a' claims another size than it has"),
        (change(lambda header: header.pop("b") and None), "leave gaps|and the file has"),
        (change(lambda header: header["__metadata__"].update(state="[]")), "its state is no object"),
    ],
)
def test_a_header_that_cannot_be_believed_is_refused(
    damage: Callable[[bytes], bytes], why: str, path: Path
) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"w\.safetensors is damaged and cannot be read.*({why})|^.*{why}"):
        read_header(path)


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: the model has no weights there"):
        read_header(tmp_path / "w.safetensors")


def test_other_tensors_than_the_networks_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(path)
    for expected, why in (
        ({"a": TENSORS["a"]}, "'b' is missing or too much"),
        (TENSORS | {"a": torch.zeros(3, 2)}, r"'a' has the shape \(2, 3\), not \(3, 2\)"),
        (TENSORS | {"b": torch.zeros(4)}, "'b' has the type I64, not torch.float32"),
    ):
        with pytest.raises(ValueError, match=why):
            check_fits(header, expected)
    monkeypatch.setattr(weights_file, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="it has 56 bytes of numbers, and 10 are the most"):
        check_fits(header, TENSORS)


def test_rounded_weights_are_close_and_read_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "large": torch.randn(200, 100, generator=generator),
        "exact": torch.randn(200, 100, generator=generator),
        "small": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(200, generator=generator),
    }
    weights["large"][3] = 0  # a row without a size of its own
    stored = compact(weights, exact=lambda name: name == "exact")
    assert {name: str(tensor.dtype)[6:] for name, tensor in stored.items()} == {
        "large": "int8",
        "large.step": "float32",
        "exact": "float16",
        "small": "float16",
        "bias": "float32",
    }
    save_file(stored, tmp_path / "w.safetensors")
    check_fits(
        read_header(tmp_path / "w.safetensors"), as_stored(read_header(tmp_path / "w.safetensors"), weights)
    )
    again = restored(stored)
    assert again.keys() == weights.keys()
    step = weights["large"].abs().amax(1, keepdim=True) / 127
    assert ((again["large"] - weights["large"]).abs() <= 0.5001 * step).all()
    assert torch.equal(again["bias"], weights["bias"])


def test_a_network_takes_no_memory_until_it_is_filled() -> None:
    network = on_meta(lambda: nn.Linear(10**6, 10**6))
    assert network.weight.is_meta
    small = filled(on_meta(lambda: nn.Linear(3, 2)), {"weight": TENSORS["a"].half(), "bias": torch.zeros(2)})
    assert small.weight.dtype == torch.float32
    assert not small.training
    assert small(torch.ones(1, 3)).tolist() == [[3.0, 12.0]]


def test_numbers_are_finite() -> None:
    check_numbers(TENSORS)
    for value in (float("nan"), float("-inf")):
        with pytest.raises(ValueError, match="'c' has numbers that are not finite"):
            check_numbers(TENSORS | {"c": torch.tensor([1.0, value])})
