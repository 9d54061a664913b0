"""Values computed on first use: once, by one thread, read-only, and again only when their state changes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.lazy import Renewed, frozen, lazy


class Owner:
    """An object with a property that counts how often it is computed."""

    def __init__(self) -> None:
        self.computed = 0

    @lazy
    def values(self) -> np.ndarray:
        """Three zeros."""
        self.computed += 1
        time.sleep(0.05)
        return np.zeros(3)

    @lazy
    def refused(self) -> int:
        """Nothing."""
        self.computed += 1
        raise UserError("It is not there.")

    @lazy
    def broken(self) -> int:
        """A number, at the second attempt."""
        self.computed += 1
        return 7 if self.computed == 2 else 1 // 0


def test_eight_threads_have_a_property_computed_once():
    owner, together = Owner(), threading.Barrier(8)

    def ask(_: int) -> np.ndarray:
        together.wait()
        return owner.values

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(ask, range(8)))
    assert owner.computed == 1
    assert all(result is results[0] for result in results)
    assert Owner().values is not results[0]
    assert Owner.values.__doc__ == "Three zeros."


def test_a_user_error_is_remembered_and_a_fault_is_not():
    owner = Owner()
    raised = []
    for _ in range(2):
        with pytest.raises(UserError, match="not there") as error:
            _ = owner.refused
        raised.append(error.value)
    assert owner.computed == 1
    assert raised[0] is not raised[1]  # each gets one with its own traceback
    owner = Owner()
    with pytest.raises(ZeroDivisionError):
        _ = owner.broken
    assert owner.broken == 7


def test_a_value_is_computed_again_when_its_state_changes():
    kept: Renewed[list[int]] = Renewed()
    first = kept.get("a", 1, lambda: [1])
    assert kept.get("a", 1, lambda: pytest.fail("it is kept")) is first
    assert kept.get("a", 2, lambda: [2]) == [2]
    kept.get("b", 1, lambda: [3])
    kept.keep(["b"])
    assert kept.get("a", 2, lambda: [4]) == [4]
    assert kept.get("b", 1, lambda: pytest.fail("it is kept")) == [3]


def test_a_failure_is_reported_while_the_state_is_the_same():
    kept: Renewed[int] = Renewed()

    def refuse() -> int:
        raise UserError("It is damaged.")

    assert kept.failure("a", lambda: 1) is None
    with pytest.raises(UserError, match="damaged"):
        kept.get("a", 1, refuse)
    assert kept.failure("a", lambda: 1) == "It is damaged."
    assert kept.failure("a", lambda: 2) is None
    assert kept.get("a", 2, lambda: 5) == 5
    assert kept.failure("a", lambda: 2) is None


def test_least_recently_used_values_go_when_there_are_too_many_bytes():
    kept: Renewed[np.ndarray] = Renewed(most_bytes=2_500)
    for key in "abc":
        kept.get(key, 0, lambda: np.zeros(1_000, np.uint8))
        kept.get("a", 0, lambda: pytest.fail("it is used all the time"))
    made: list[str] = []
    kept.get("c", 0, lambda: pytest.fail("the newest stays"))
    kept.get("b", 0, lambda: made.append("b") or np.zeros(1, np.uint8))
    assert made == ["b"]


def test_shared_values_cannot_be_changed():
    value = frozen({"array": np.zeros(2), "lists": [[1, 2]], "pair": ({"x": 1}, "text")})
    assert value == {"array": value["array"], "lists": [[1, 2]], "pair": ({"x": 1}, "text")}
    with pytest.raises(ValueError, match="read-only"):
        value["array"][0] = 1
    for change in (
        lambda: value.update(more=1),
        lambda: value.pop("pair"),
        lambda: value["lists"].append(1),
        lambda: value["lists"][0].sort(),
        lambda: value["pair"][0].clear(),
    ):
        with pytest.raises(TypeError, match="copy it first"):
            change()
    assert sorted(value) == ["array", "lists", "pair"]
