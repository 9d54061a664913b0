"""The web app's front door: Streamlit's pages together with the core's HTTP and WebSocket routes.

Start it with `lungvae app`, or `streamlit run app.py`.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from lungvae_core.serving.frontpage import NameTheServer
from lungvae_core.serving.routes import routes

app = st.App(
    Path(__file__).resolve().parent / "pages" / "shell.py",
    routes=routes(),
    middleware=[Middleware(NameTheServer)],
)

if __name__ == "__main__":
    app.run()
