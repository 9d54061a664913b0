"""A component of the page's own, made known to Streamlit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from lungvae_core.javascript import bundle
from lungvae_core.palette import CSS


def register(name: str, part: Path) -> Any:
    """The component of the files `part`.html, .css and .js, the latter with the modules that it imports."""
    return st.components.v2.component(
        name,
        html=part.with_suffix(".html").read_text(encoding="utf-8"),
        css=CSS + part.with_suffix(".css").read_text(encoding="utf-8"),
        js=bundle(part.with_suffix(".js")),
    )
