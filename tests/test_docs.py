"""What the documents say is there."""

from __future__ import annotations

import re
import subprocess
import sys

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


def test_every_setting_and_module_is_documented() -> None:
    text = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    code = "".join(path.read_text() for path in (ROOT / "lungvae_core").rglob("*.py"))
    for variable in set(re.findall(r"LUNGVAE_[A-Z]+", code)):
        assert variable in text, variable
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    for module in (ROOT / "lungvae_core").glob("*/*.py"):
        if not module.stem.startswith("__") and module.parent.name != "cli":
            assert module.name in architecture, f"{module} is not in docs/architecture.md"
