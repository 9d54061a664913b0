"""docs/guides/page.md, followed: its page stands in the navigation and passes its test."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pages.shared import guide
from tests.conftest import ROOT
from tests.pages import conftest


def test_the_guide_to_a_page_can_be_followed(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "guides" / "page.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(?:python|text) (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    shutil.copytree(ROOT / "pages", tmp_path / "pages")
    (tmp_path / "pages" / "knowledge" / "sizes.py").write_text(blocks["pages/knowledge/sizes.py"])
    shell = tmp_path / "pages" / "shell.py"
    group = '"What it knows": [\n'
    shell.write_text(shell.read_text().replace(group, group + blocks["pages/shell.py"]))
    texts = tmp_path / "pages" / "shared" / "guide.md"
    texts.write_text(f"{texts.read_text()}\n{blocks['pages/shared/guide.md']}")
    monkeypatch.setattr(guide, "FILE", texts)
    monkeypatch.setattr(conftest, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    test: dict[str, object] = {}
    exec(compile(blocks["tests/pages/knowledge/test_sizes.py"], "test_sizes.py", "exec"), test)
    test["test_the_scale_is_in_the_address"](models)
