"""The web app's front door: Streamlit's pages together with the core's HTTP and WebSocket routes.

Start it with `lungvae app`, or `streamlit run app.py`.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from lungvae_core.serving import access, logs, security
from lungvae_core.serving.frontpage import SCRIPT, NameTheServer
from lungvae_core.serving.routes import routes

# How long a thread keeps Python's lock while others want it: at the usual 5 ms a live answer, which needs it
# a few times, would wait for pages that are being made.
sys.setswitchinterval(0.0005)

_PAGES = Path(__file__).resolve().parent / "pages"
_ROUTES = routes()
_FRONT_END = Path(st.__file__).parent / "static" / "index.html"


def _middleware() -> list[Middleware]:
    documents = [_FRONT_END.read_text(encoding="utf-8"), SCRIPT.decode()]
    found = [*security.stack(access.current(), documents=documents), Middleware(NameTheServer)]
    if logs.wanted(os.environ):
        logs.log_json()
        addresses = ["map", *(path.stem for path in _PAGES.glob("*.py"))]
        found.insert(0, Middleware(logs.AccessLog, routes=_ROUTES, pages=addresses))
    return found


# What is loaded by now stays, and need not be looked through for garbage again and again.
gc.collect()
gc.freeze()

app = st.App(
    _PAGES / "shell.py", routes=_ROUTES, middleware=_middleware(), secrets=access.current().secrets()
)

if __name__ == "__main__":
    app.run()
