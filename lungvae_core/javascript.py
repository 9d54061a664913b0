"""JavaScript modules joined into one script, for where a browser can load no second file.

Streamlit hands a component's script to the browser as a blob, from which no module can be imported, and the
exported explorer is one file. The modules are plain ES modules, which the tests run in Node as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

from lungvae_core.app_files import ROOT

COMPONENTS = ROOT / "pages" / "components"

_IMPORT = re.compile(
    r'^import (?P<names>\{[^}]*\}|\w+) from "(?P<source>\.[^"]*)"(?: with \{ type: "json" \})?;', re.MULTILINE
)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|function|class) (?P<name>\w+))", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export(?! default))\b.*", re.MULTILINE)


def bundle(entry: Path) -> str:
    """One script that does what the module `entry` does, with all the modules that it imports.

    Each imported module keeps a scope of its own. Understood are `import { a, b as c } from "./x.js"`, the
    whole of a JSON file, exported declarations, and a default export of `entry` alone. Raises ValueError for
    other forms and for modules that import each other, OSError for a file that is not there.
    """
    modules: dict[Path, str] = {}  # in the order in which they run
    own = _without_imports(entry.resolve(), modules, ())
    return "\n".join([*modules.values(), own])


def _without_imports(path: Path, modules: dict[Path, str], importers: tuple[Path, ...]) -> str:
    """The module's code, its imports taken from the modules' names; what it imports is added to `modules`."""
    if path in importers:
        raise ValueError(f"{path.name} imports itself by way of {importers[-1].name}")

    def assign(match: re.Match[str]) -> str:
        source = (path.parent / match["source"]).resolve()
        if source not in modules:
            code = _module(source, modules, (*importers, path))
            modules[source] = f"const {_name(source)} = {code};"
        return f"const {match['names'].replace(' as ', ': ')} = {_name(source)};"

    return _IMPORT.sub(assign, path.read_text(encoding="utf-8"))


def _module(path: Path, modules: dict[Path, str], importers: tuple[Path, ...]) -> str:
    """An expression for what the module exports."""
    if path.suffix == ".json":
        return path.read_text(encoding="utf-8").strip()
    code = _without_imports(path, modules, importers)
    names = [match["name"] for match in _EXPORT.finditer(code)]
    code = _EXPORT.sub("", code)
    if left := _LEFT.search(code):
        raise ValueError(f"{path.name} has a form that is not understood here: {left[0]}")
    return f"(() => {{\n{code}return {{ {', '.join(names)} }};\n}})()"


def _name(path: Path) -> str:
    """A module's name in the bundle, after its folder and file."""
    return "$" + re.sub(r"\W", "_", f"{path.parent.name}_{path.name}")
