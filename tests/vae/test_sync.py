"""What processes that train one model exchange; alone, nothing."""

from __future__ import annotations

import contextlib

import pytest
import torch

from lungvae_core.errors import UserError
from lungvae_core.vae import sync
from lungvae_core.vae.sync import Share, sharing


def test_processes_with_the_whole_batch_each_compute_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sync.processes() == 1
    monkeypatch.setattr(sync.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(sync.dist, "get_world_size", lambda: 2)
    assert sync.processes() == 2
    with sharing(Share(0, 1, 2)):
        assert sync.processes() == 2
    with sharing(Share(0, 1, 1)):
        assert sync.processes() == 1
        values = torch.rand(1, 3)
        torch.testing.assert_close(sync.batch_mean(values), values[0])
        assert sync.total(values) is values
    assert sync.processes() == 2
    with contextlib.suppress(UserError), sharing(Share(0, 1, 1)):
        raise UserError("in the middle of a step")
    assert sync.processes() == 2


def test_alone_nothing_is_exchanged() -> None:
    x = torch.rand(3, 2)
    assert sync.whole_batch(x, Share(0, 3, 3)) is x
    assert sync.total(x) is x
    torch.testing.assert_close(sync.batch_mean(x), x.mean(0))


def test_rows_of_the_others_are_added_in_the_global_batchs_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a second process that has the rows 0 and 1 of five, simulated: what it would send is added."""
    own, share = torch.ones(3, 2, requires_grad=True), Share(2, 5, 5)
    others = torch.zeros(5, 2)
    others[:2] = 7

    def reduced(x: torch.Tensor) -> None:
        x += others if x.shape == others.shape else 0

    monkeypatch.setattr(sync, "processes", lambda: 2)
    monkeypatch.setattr(sync.dist, "all_reduce", reduced)
    expected = torch.tensor([7.0, 7, 1, 1, 1])
    whole = sync.whole_batch(own, share)
    torch.testing.assert_close(whole[:, 0], expected)
    whole[2:].sum().backward()
    assert own.grad is not None
    gathered = sync.gathered(own, share)
    torch.testing.assert_close(gathered[:, 1], expected)
    assert not gathered.requires_grad
