"""What `auto` becomes on a device, and that it never stands in the way of a training."""

from __future__ import annotations

import pytest
import torch

from lungvae_core.training import device as module
from lungvae_core.training.device import compiles, memory_error, settle
from lungvae_core.vae.config import override, preset

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_settled_and_what_was_chosen_is_kept() -> None:
    for name in ("gvae", "paper-gvae"):
        settled = settle(preset(name), CPU).training
        assert settled.precision in ("float32", "bfloat16")
        assert settled.compile == "off"
    chosen = override(preset("gvae"), {"precision": "bfloat16", "compile": "on"})
    assert settle(chosen, CPU) == chosen


@pytest.mark.parametrize(("has", "amd"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_cpu_takes_bfloat16_where_it_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, has: bool, amd: bool
) -> None:
    monkeypatch.setattr(module, "computes_in_bfloat16", lambda: has)
    monkeypatch.setattr(module, "_cpu_is_amd", lambda: amd)
    precisions = {name: settle(preset(name), CPU).training.precision for name in ("gvae", "paper-gvae")}
    assert (precisions["gvae"] == "bfloat16") == (has and amd)
    assert (precisions["paper-gvae"] == "bfloat16") == has


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_compiles_where_it_can(monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    monkeypatch.setattr(module, "compiles", lambda config, device: works)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    training = settle(preset("gvae"), CUDA).training
    assert training.compile == ("on" if works else "off")
    assert training.precision == "bfloat16"


def test_a_compiler_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no C compiler")

    tiny = override(preset("gvae"), {"width": 4, "dimensions": 2, "batch_size": 2})
    monkeypatch.setattr(module, "compile_networks", fail)
    assert not compiles(tiny, CPU)
    monkeypatch.setattr(module, "compile_networks", lambda vae, device: None)
    assert compiles(tiny, CPU)


def test_only_exhausted_memory_is_reported_as_such() -> None:
    error = memory_error(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), CPU, 64)
    assert error is not None
    assert "batch_size=32" in str(error)
    assert memory_error(RuntimeError("shapes do not match"), CPU, 64) is None
    assert "narrower" in str(memory_error(MemoryError(), CPU, 1))
