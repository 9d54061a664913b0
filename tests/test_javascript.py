"""Modules of JavaScript: joined for the pages and the exported explorer, and tested in Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.javascript import COMPONENTS, bundle
from lungvae_core.palette import diverging
from tests.conftest import ROOT

LOWEST = (18, 20)  # of Node: the first that imports JSON as the modules do
ENTRIES = sorted(page.with_suffix(".js") for page in COMPONENTS.glob("*/*.html"))


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node, for tests that run JavaScript."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("needs Node (apt install nodejs)")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LOWEST:
        pytest.skip(f"needs Node {'.'.join(map(str, LOWEST))} or newer, and {version.strip()} is here")
    return path


def write(folder: Path, **modules: str) -> None:
    for name, code in modules.items():
        (folder / f"{name}.js").write_text(code)


def test_the_modules_do_in_node_what_their_tests_say(node):
    tests = sorted((ROOT / "tests" / "javascript").glob("*.test.js"))
    assert tests
    run = subprocess.run([node, "--test", *tests], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.parent.name)
def test_each_component_and_the_explorer_is_one_script(node, entry, tmp_path):
    script = bundle(entry)
    assert not re.search(r"^\s*import\b", script, re.MULTILINE)
    assert "</script" not in script
    (tmp_path / "script.mjs").write_text(script, encoding="utf-8")
    run = subprocess.run(
        [node, "--check", tmp_path / "script.mjs"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_bundle_runs_each_module_once_in_a_scope_of_its_own(node, tmp_path):
    write(
        tmp_path,
        first='const name = "first";\nexport const list = [];\n'
        "export function add() {\n  list.push(name);\n}\nadd();\n",
        second='import { add as more } from "./first.js";\n'
        'const name = "second";\nmore();\nexport class Kept {}\n',
        entry='import { list } from "./first.js";\nimport {\n  Kept,\n} from "./second.js";\n'
        'import told from "./told.json" with { type: "json" };\n'
        "console.log(JSON.stringify([list, typeof Kept, told]));\nexport default list;\n",
    )
    (tmp_path / "told.json").write_text('{"a": 1}')
    (tmp_path / "script.mjs").write_text(bundle(tmp_path / "entry.js"))
    run = subprocess.run([node, tmp_path / "script.mjs"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [["first", "first"], "function", {"a": 1}]


@pytest.mark.parametrize(
    "code",
    ['import * as all from "./other.js";', 'import "./other.js";', "export { a };", 'import { a } from "a";'],
)
def test_what_cannot_be_joined_is_refused(tmp_path, code):
    write(
        tmp_path,
        module=f"{code}\n",
        other="export const a = 1;\n",
        entry='import { b } from "./module.js";\n',
    )
    with pytest.raises(ValueError, match=r"module\.js has a form"):
        bundle(tmp_path / "entry.js")


def test_modules_that_import_each_other_are_refused(tmp_path):
    write(tmp_path, one='import { b } from "./two.js";\n', two='import { a } from "./one.js";\n')
    with pytest.raises(ValueError, match=r"one\.js imports itself by way of two\.js"):
        bundle(tmp_path / "one.js")


def test_differences_have_the_same_colours_in_python_and_in_the_browser(node):
    shares = np.linspace(-1.2, 1.2, 49)
    code = (
        f'import {{ differencePixel }} from "{(COMPONENTS / "lib" / "colours.js").as_uri()}";'
        f"console.log(JSON.stringify({shares.tolist()}.map(differencePixel)));"
    )
    run = subprocess.run(
        [node, "--input-type=module", "--eval", code], capture_output=True, text=True, check=True
    )
    pixels = np.array(json.loads(run.stdout), "<u4").view(np.uint8).reshape(-1, 4)
    np.testing.assert_allclose(pixels[:, :3], diverging(shares, 1).astype(int), atol=1)
