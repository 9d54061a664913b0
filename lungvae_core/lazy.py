"""Values that shared objects compute on first use: once, by one thread, and never changed afterwards."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import Future
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np

from lungvae_core.caches import size_of
from lungvae_core.errors import UserError

Value = TypeVar("Value")


class lazy(Generic[Value]):
    """A property that is computed once per object; only threads that need it wait.

    `functools.cached_property` lets two threads compute it at the same time (from Python 3.12 on) or has one
    lock for all objects of a class (before). The result is `frozen`. A UserError is remembered.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, cls: type | None = None) -> Value:
        if owner is None:
            return self  # type: ignore[return-value]
        # One step of the interpreter, so that two threads get the same one.
        once = vars(owner).setdefault(f"_once_{self.name}", Renewed())
        value = once.get(self.name, None, lambda: self.make(owner))
        vars(owner)[self.name] = value  # from now on found without this descriptor
        return value


class Renewed(Generic[Value]):
    """A value per key, recomputed by one thread when the key's state changes; others wait for that key only.

    A UserError is remembered for its state like a value; after other exceptions the next call tries again.
    With `most_bytes`, the least recently used values are dropped when all together exceed it; the newest
    always stays.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Hashable, Future[Value]]] = OrderedDict()

    def get(self, key: Hashable, state: Hashable, make: Callable[[], Value]) -> Value:
        """The key's value of this state."""
        with self._lock:
            held = self._held.get(key)
            if mine := held is None or held[0] != state:
                held = self._held[key] = (state, Future())
            self._held.move_to_end(key)
        assert held is not None
        future = held[1]
        if mine:
            try:
                future.set_result(frozen(make()))
            except BaseException as error:
                if not isinstance(error, UserError):
                    self._forget(key, held)
                future.set_exception(error)
            else:
                self._shed()
        try:
            return future.result()
        except UserError as error:
            # Each caller gets its own exception, since raising one writes a traceback into it.
            raise UserError(str(error)) from None

    def failure(self, key: Hashable, state: Callable[[], Hashable]) -> str | None:
        """The message with which the key's value failed, if it did and its state is unchanged."""
        with self._lock:
            held = self._held.get(key)
        if held is None or not held[1].done() or held[1].exception() is None or held[0] != state():
            return None
        return str(held[1].exception())

    def keep(self, keys: Collection[Hashable]) -> None:
        """Drop all other keys."""
        with self._lock:
            for key in [key for key in self._held if key not in keys]:
                del self._held[key]

    def _shed(self) -> None:
        """Forget the least recently used values while all together exceed `most_bytes`.

        Values grow with use, so all are measured whenever a new one is added.
        """
        if self._most_bytes is None:
            return
        with self._lock:
            held = [(key, one) for key, one in self._held.items() if one[1].done() and not one[1].exception()]
        sizes = [size_of(future.result()) for _, (_, future) in held]
        excess = sum(sizes) - self._most_bytes
        for (key, one), size in zip(held[:-1], sizes, strict=False):
            if excess <= 0:
                return
            self._forget(key, one)
            excess -= size

    def _forget(self, key: Hashable, held: tuple[Hashable, Future[Value]]) -> None:
        with self._lock:
            if self._held.get(key) is held:
                del self._held[key]


def frozen(value: Any) -> Any:
    """`value` with read-only arrays, dicts and lists."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif type(value) is tuple:
        return tuple(frozen(each) for each in value)
    elif type(value) is dict:
        return FrozenDict({key: frozen(each) for key, each in value.items()})
    elif type(value) is list:
        return FrozenList(frozen(each) for each in value)
    return value


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    raise TypeError("it is shared by everybody and cannot be changed; copy it first")


class FrozenDict(dict):
    """A dict that is shared by threads."""

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse


class FrozenList(list):
    """A list that is shared by threads."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
