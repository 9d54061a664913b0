"""Caches with a limit in bytes, for everything that a server keeps for its viewers.

Keys are made of parsed requests, never of raw text: different spellings of a request share one entry, and the
limit in bytes holds for any input.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from functools import wraps
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

FULL = 4  # owners whose caches may be full at a time

Value = TypeVar("Value")
_NOT_COUNTED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, threading.Thread)


class BoundedCache(Generic[Value]):
    """A mapping that drops the least recently used values while it holds more than `most_bytes`.

    The newest value always stays, so it holds at most `most_bytes`, or a single larger value. Thread-safe.
    """

    def __init__(self, most_bytes: int, *, size: Callable[[Value], int] | None = None) -> None:
        self.most_bytes = most_bytes
        self._size = size or size_of
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Value]] = {}  # no longer than threads are at it
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made if it is missing.

        Threads that ask for one key at the same time get one value, made once; if making it raises, all of
        them get the exception, and nothing is stored.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            waiting = self._making.get(key)
            if waiting is None:
                mine = self._making[key] = Future()
        if waiting is not None:
            return waiting.result()
        try:
            value = make()
            self.put(key, value)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(value)
            return value
        finally:
            with self._lock:
                del self._making[key]

    def peek(self, key: Hashable) -> Value | None:
        """The stored value of `key`, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Value) -> None:
        """Store a value, replacing any other of that key."""
        size = self._size(value) + size_of(key)
        with self._lock:
            self._bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = (value, size)
            while self._bytes > self.most_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def drop(self, key: Hashable) -> None:
        """Remove the value of `key`, if there is one."""
        with self._lock:
            self._bytes -= self._kept.pop(key, (None, 0))[1]

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of all values and keys."""
        return self._bytes


class CachePerOwner(Generic[Value]):
    """A `BoundedCache` for each of several objects, removed together with the object.

    Together they hold as much as FULL owners may; beyond that, the caches of the least recently used owners
    are cleared.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._caches: weakref.WeakKeyDictionary[Any, BoundedCache[Value]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, owner: Any) -> BoundedCache[Value]:
        """The owner's cache."""
        with self._lock:
            cache = self._caches.pop(owner, None)
            if cache is None:
                cache = BoundedCache(self.most_bytes)
            others = list(self._caches.values())  # the least recently used first
            self._caches[owner] = cache
        excess = cache.nbytes + sum(each.nbytes for each in others) - FULL * self.most_bytes
        for other in others:
            if excess <= 0:
                break
            excess -= other.nbytes
            other.clear()
        return cache


def bounded(most_bytes: int) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Cache a function's results by its positional, hashable arguments, within `most_bytes`."""

    def decorate(function: Callable[..., Value]) -> Callable[..., Value]:
        results: BoundedCache[Value] = BoundedCache(most_bytes)

        @wraps(function)
        def wrapper(*arguments: Any) -> Value:
            return results.get(arguments, lambda: function(*arguments))

        return wrapper

    return decorate


def size_of(value: Any) -> int:
    """About how many bytes a value holds: arrays and tables by their data, objects by their attributes.

    An object's own `nbytes` is used if it has one. Memory-mapped arrays count nothing, since the system can
    reclaim their memory.
    """
    total, seen, left = 0, set(), [value]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, _NOT_COUNTED):
            continue
        seen.add(id(each))
        if isinstance(each, np.memmap):
            continue
        if isinstance(each, pd.DataFrame):
            total += int(each.memory_usage(deep=True).sum())
        elif isinstance(each, pd.Series | pd.Index):
            total += int(each.memory_usage(deep=True))
        elif isinstance(own := getattr(each, "nbytes", None), int | np.integer):
            total += int(own)
        else:
            total += sys.getsizeof(each)
            left += _parts(each)
    return total


def _parts(value: Any) -> list[Any]:
    """What a value holds on to."""
    if isinstance(value, str | bytes | bytearray | int | float):
        return []
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | AbstractSet):
        return list(value)
    slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    return [*getattr(value, "__dict__", {}).values(), *slots]
