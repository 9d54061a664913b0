"""The pages' texts: all three for every page of the navigation, and for nothing else."""

from __future__ import annotations

import re

from pages.shared import guide
from pages.shared.tour import HOME
from tests.conftest import ROOT

GUIDES = guide.guides(guide.FILE)


def test_every_page_of_the_navigation_has_its_own():
    shell = (ROOT / "pages" / "shell.py").read_text(encoding="utf-8")
    titles = re.findall(r'title="(\w[\w ]*)"', shell)
    assert len(titles) >= 12
    assert set(GUIDES) == {HOME, *titles} - {"Home"}


def test_each_is_a_list_of_whole_sentences():
    for title, page in GUIDES.items():
        lines = page.use.splitlines()
        assert len(lines) >= 2, title
        for line in lines:
            assert line.startswith("- "), title
            assert line.endswith("."), title


def test_a_line_goes_on_in_the_next(tmp_path):
    file = tmp_path / "guide.md"
    first = "# A\n\nOne\ntwo.\n\n## Not\n\n- Three\n  four.\n- Five.\n\n## Use\n\n- Six.\n"
    file.write_text(f"{first}\n# B\n\nB.\n\n## Not\n\n- Not.\n\n## Use\n\n- Use.\n")
    assert guide.guides(file) == {
        "A": guide.Guide("One two.", "- Three four.\n- Five.", "- Six."),
        "B": guide.Guide("B.", "- Not.", "- Use."),
    }
