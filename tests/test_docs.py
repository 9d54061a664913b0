"""What the documents say is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("script", ["make_commands.py", "make_columns.py", "make_settings.py"])
def test_commands_columns_and_settings_are_documented_as_they_are(script: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / script, "--check"], check=False)
    assert done.returncode == 0, f"run python docs/{script}"


def test_links_and_pictures_of_the_documents_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_every_setting_is_documented() -> None:
    text = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    code = "".join(path.read_text() for path in (ROOT / "lungvae_core").rglob("*.py"))
    for variable in set(re.findall(r"LUNGVAE_[A-Z]+", code)):
        assert variable in text, variable


def tree() -> set[str]:
    """The paths of the tree in docs/architecture.md; a folder's ends in "/"."""
    block = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
    paths, folders = set(), []
    for line in block.splitlines():
        names = re.match(r"( *)((?:[\w.-]+(?:/|\.py)(?:, (?! )| +(?=\w+/)|))+)(?= |$)", line)
        if names is None:  # a description that goes on
            continue
        folders = folders[: len(names[1]) // 2]
        listed = {"".join(folders) + name for name in re.split(r",? +", names[2])}
        paths |= listed
        if names[2].endswith("/"):
            folders.append(names[2])
    return paths


def test_the_tree_of_the_architecture_is_true_at_every_depth() -> None:
    paths = tree()
    assert len(paths) > 200
    for path in paths:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    without_a_list = {path for path in paths if path.endswith("/")} - {
        f"{Path(path).parent}/" for path in paths
    }
    for module in [*(ROOT / "lungvae_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]:
        path = module.relative_to(ROOT).as_posix()
        rooms = {f"{parent}/" for parent in Path(path).parents}
        assert module.stem.startswith("__") or path in paths or rooms & without_a_list, path
