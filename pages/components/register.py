"""Register a custom component with Streamlit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from lungvae_core.javascript import bundle
from lungvae_core.palette import CSS


def register(name: str, part: Path) -> Any:
    """Build a component from `part`.html, .css and .js; the script is bundled with the modules it imports."""
    return st.components.v2.component(
        name,
        html=part.with_suffix(".html").read_text(encoding="utf-8"),
        css=CSS + part.with_suffix(".css").read_text(encoding="utf-8"),
        js=bundle(part.with_suffix(".js")),
    )
