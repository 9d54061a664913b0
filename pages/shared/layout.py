"""The margins of a page."""

from __future__ import annotations

import streamlit as st


def compact() -> None:
    """Reduce the page's margins, so that a map or an image fits on a laptop's screen."""
    st.html(
        "<style>[data-testid='stMainBlockContainer'] {padding: 2.2rem 2.5rem 3rem}"
        " [data-testid='stMainBlockContainer'] h1 {padding: 0.4rem 0; font-size: 2rem}</style>"
    )
