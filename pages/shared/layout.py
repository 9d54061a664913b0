"""How much room a page leaves around itself."""

from __future__ import annotations

import streamlit as st


def compact() -> None:
    """Move the page's content up and out, so that a laptop's screen shows a map or an image whole."""
    st.html(
        "<style>[data-testid='stMainBlockContainer'] {padding: 2.2rem 2.5rem 3rem}"
        " [data-testid='stMainBlockContainer'] h1 {padding: 0.4rem 0; font-size: 2rem}</style>"
    )
