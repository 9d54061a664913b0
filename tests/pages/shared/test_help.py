"""How to use each page: a text for every page of the navigation, and for nothing else."""

from __future__ import annotations

import re

from pages.shared.help import HELP
from pages.shared.tour import HOME
from tests.conftest import ROOT


def test_every_page_of_the_navigation_has_its_own():
    shell = (ROOT / "pages" / "shell.py").read_text(encoding="utf-8")
    titles = re.findall(r'title="(\w[\w ]*)"', shell)
    assert len(titles) >= 12
    assert set(HELP) == {HOME, *titles} - {"Home"}


def test_each_is_a_list_of_whole_sentences():
    for title, text in HELP.items():
        lines = text.splitlines()
        assert len(lines) >= 2, title
        for line in lines:
            assert line.startswith("- "), title
            assert line.endswith("."), title
