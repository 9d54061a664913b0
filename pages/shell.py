"""The frame around every page: navigation, the model picker and the standing notice."""

from __future__ import annotations

import sys
from pathlib import Path

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
            st.Page(_PAGES / "home.py", title="Home", icon=":material/home:", default=True),
            st.Page(
                _PAGES / "map/latent_map.py",
                title="Latent map",
                icon=":material/scatter_plot:",
                url_path="map",
            ),
            st.Page(_PAGES / "traversal/traversal.py", title="Traversal", icon=":material/tune:"),
            st.Page(_PAGES / "predict/predict.py", title="Predict", icon=":material/biotech:"),
            st.Page(_PAGES / "compare.py", title="Compare", icon=":material/compare:"),
        ],
        "How good": [
            st.Page(_PAGES / "evaluation/evaluation.py", title="Evaluation", icon=":material/fact_check:"),
        ],
        "What it knows": [
            st.Page(
                _PAGES / "knowledge/measured.py", title="Measured traversals", icon=":material/straighten:"
            ),
            st.Page(_PAGES / "knowledge/factors.py", title="Factors", icon=":material/account_tree:"),
            st.Page(_PAGES / "knowledge/clusters.py", title="Clusters", icon=":material/bubble_chart:"),
            st.Page(_PAGES / "knowledge/directions.py", title="Directions", icon=":material/explore:"),
        ],
        "Your own": [
            st.Page(_PAGES / "work/train.py", title="Train", icon=":material/model_training:"),
            st.Page(_PAGES / "work/search.py", title="Search", icon=":material/manage_search:"),
        ],
    }
)
if page.url_path:
    st.set_page_config(page_title=f"{page.title} · {NAME}")
with turns.turn(), common.contained("This page"):
    common.frame(page.url_path)
    page.run()
