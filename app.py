"""The web app: Streamlit's pages together with the core's HTTP and WebSocket routes.

Start it with `lungvae app`, which settles Streamlit's options; `serving.http.sockets` bounds its sockets.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path

import streamlit as st
import torch
from starlette.middleware import Middleware
from streamlit import config
from streamlit.auth_util import encode_provider_token
from streamlit.web import bootstrap
from threadpoolctl import threadpool_limits

from lungvae_core.json_text import parse_json
from lungvae_core.serving.http import logs, security, sockets
from lungvae_core.serving.http.frontpage import SCRIPT, NameTheServer
from lungvae_core.serving.http.routes import routes
from lungvae_core.serving.workspace import access, tidy
from lungvae_core.serving.workspace.settings import Settings
from pages.shared import memory

# Everything here computes on one core: many small computations go on side by side, and one that is shared
# among cores waits, spinning, for those that compute for somebody else.
torch.set_num_threads(1)
threadpool_limits(1)

# How long a thread keeps Python's lock while others want it: at the usual 5 ms a live answer, which needs it
# a few times, would wait for pages that are being made.
sys.setswitchinterval(0.0005)

_HERE = Path(__file__).resolve()
_PAGES = _HERE.parent / "pages"
_ROUTES = routes()
_FRONT_END = Path(st.__file__).parent / "static" / "index.html"
_AS_JSON = logs.writes_json(os.environ)

# As `streamlit run` does it: the .streamlit/config.toml beside this file counts, wherever it was started
# from, and before it the options on the command line, here one JSON object.
if __name__ == "__main__":
    config._main_script_path = str(_HERE)
    options = parse_json(sys.argv[1], what="The options of the app") if len(sys.argv) > 1 else {}
    bootstrap.load_config_options(options)


def _sign_in_address() -> str:
    return f"/auth/login?provider={encode_provider_token('default')}"


def _middleware() -> list[Middleware]:
    documents = [_FRONT_END.read_text(encoding="utf-8"), SCRIPT.decode()]
    layers = security.stack(access.current(), documents=documents, sign_in_address=_sign_in_address)
    layers.append(Middleware(NameTheServer))
    if _AS_JSON:
        logs.log_json()
        addresses = ["map", *(path.stem for path in _PAGES.rglob("*.py"))]
        layers.insert(0, Middleware(logs.AccessLog, routes=_ROUTES, pages=addresses))
    return layers


for _done in tidy.clear_at_start(Settings()):
    logging.getLogger("lungvae_core.tidy").warning("Cleared at the start: %s", _done)

# What is loaded by now stays, and need not be looked through for garbage again and again.
gc.collect()
gc.freeze()

app = st.App(
    _PAGES / "shell.py",
    routes=_ROUTES,
    middleware=_middleware(),
    secrets=access.current().secrets(),
    lifespan=memory.closing_sessions,
)

if __name__ == "__main__":
    address, port = st.get_option("server.address"), st.get_option("server.port")
    sockets.server(app, address, port, own_logs=_AS_JSON).run()
