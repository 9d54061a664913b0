"""The tree of tests mirrors the tree of modules: each module has a file of tests of its name at its path."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conftest import ROOT

# Modules that need no file of their own, and why.
EXCEPTIONS: dict[str, str] = {}


def mirrored() -> Iterator[tuple[str, str]]:
    """(module, its file of tests) of the core and the pages, as paths below the root."""
    for top, tests in (("lungvae_core", "tests"), ("pages", "tests/pages")):
        for path in sorted((ROOT / top).rglob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                module = path.relative_to(ROOT / top)
                yield f"{top}/{module}", f"{tests}/{module.with_name(f'test_{module.name}')}"


def test_every_module_has_its_tests_at_its_path() -> None:
    pairs = dict(mirrored())
    assert len(pairs) > 250
    without = {module for module, tests in pairs.items() if not (ROOT / tests).is_file()}
    assert sorted(without - set(EXCEPTIONS)) == [], "write tests/<path>/test_<name>.py"
    assert sorted(set(EXCEPTIONS) - without) == [], "no longer needed: take them out of EXCEPTIONS"
