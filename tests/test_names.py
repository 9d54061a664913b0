"""Functions and fields are named after what they are, in the field's words."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

# Say what was done with a thing, not what it is.
VAGUE = {"found", "known", "told", "asked", "said", "wanted", "around", "worth", "Wish"}


def named(path: Path) -> set[tuple[str, str]]:
    """(file, name) of every function, class, field and attribute of self that a module names vaguely."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                each.target.id
                for each in node.body
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
            }
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    file = path.relative_to(ROOT).as_posix()
    return {(file, name) for name in names if name.strip("_") in VAGUE}


def test_no_function_or_field_has_a_vague_name() -> None:
    modules = [ROOT / "app.py"]
    for folder in ("lungvae_core", "pages", "benchmarks", "tests"):
        modules += (ROOT / folder).rglob("*.py")
    assert len(modules) > 600
    found = set().union(*map(named, modules))
    assert not found
