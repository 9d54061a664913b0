"""The frame around every page: navigation, the model picker and the standing notice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import streamlit as st

# The pages import each other as the package `pages`, wherever the app is started from.
_ROOT = str(Path(__file__).resolve().parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from lungvae_core import ATTRIBUTION, NOTICE  # noqa: E402
from pages.shared import access, common, memory, turns  # noqa: E402

NAME = "Lung lesion explorer"
ABOUT = f"**{NAME}.** {NOTICE} Shipped models derive from {ATTRIBUTION}."
_PAGES = Path(__file__).resolve().parent


def _page(file: str, *, icon: str, **named: Any) -> Any:
    """Make a page of the navigation; `icon` is a name of Google's Material Symbols."""
    return st.Page(_PAGES / file, icon=f":material/{icon}:", **named)


memory.forget_stale_widgets()
access.gate()  # first of all: the icon below is served only to people who have signed in
st.set_page_config(
    page_title=NAME,
    page_icon=_PAGES / "icon.png",  # a file: the browser would fetch a named icon from the internet
    layout="wide",
    initial_sidebar_state=256,  # pixels: fits the pages' names, leaves room for a map on a laptop
    menu_items={"About": ABOUT},  # a custom entry makes the menu appear, with light and dark themes
)
page = st.navigation(
    {
        "": [
            _page("home.py", title="Home", icon="home", default=True),
            _page("map/latent_map.py", title="Latent map", icon="scatter_plot", url_path="map"),
            _page("traversal/traversal.py", title="Traversal", icon="tune"),
            _page("predict/predict.py", title="Predict", icon="biotech"),
            _page("compare.py", title="Compare", icon="compare"),
        ],
        "How good": [_page("evaluation/evaluation.py", title="Evaluation", icon="fact_check")],
        "What it knows": [
            _page("knowledge/measured.py", title="Measured traversals", icon="straighten"),
            _page("knowledge/factors.py", title="Factors", icon="account_tree"),
            _page("knowledge/clusters.py", title="Clusters", icon="bubble_chart"),
            _page("knowledge/directions.py", title="Directions", icon="explore"),
        ],
        "Your own": [
            _page("work/train.py", title="Train", icon="model_training"),
            _page("work/search.py", title="Search", icon="manage_search"),
        ],
    }
)
if page.url_path:
    st.set_page_config(page_title=f"{page.title} · {NAME}")
with turns.turn(), common.contained("This page"):
    common.frame(page.url_path)
    page.run()
