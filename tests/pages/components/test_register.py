"""Components are registered with their page, the colours and one script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lungvae_core.palette import CSS
from pages.components import register


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Streamlit is given."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        register.st.components.v2, "component", lambda name, **parts: given.update(parts, name=name) or given
    )
    return given


def test_its_modules_are_bundled_into_one_script(registered, tmp_path: Path):
    (tmp_path / "part.html").write_text("<p>A part</p>")
    (tmp_path / "part.css").write_text("p {margin: 0}")
    (tmp_path / "part.js").write_text('import {two} from "./numbers.js";\nexport default () => two;\n')
    (tmp_path / "numbers.js").write_text("export const two = 2;\n")
    assert register.register("part", tmp_path / "part") is registered
    assert registered["name"] == "part"
    assert registered["html"] == "<p>A part</p>"
    assert registered["css"] == CSS + "p {margin: 0}"
    assert "const two = 2" in registered["js"]
    assert "from " not in registered["js"]


def test_a_part_without_its_page_is_an_error(registered, tmp_path: Path):
    (tmp_path / "part.js").write_text("export default () => 1;\n")
    with pytest.raises(FileNotFoundError, match=r"part\.html"):
        register.register("part", tmp_path / "part")
    assert not registered
