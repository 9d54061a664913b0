"""`lungvae app`: the pages in a browser."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

import lungvae_core
from lungvae_core import NOTICE
from lungvae_core.cli import app
from lungvae_core.errors import UserError

FRONT_DOOR = Path(lungvae_core.__file__).resolve().parents[1] / "app.py"


@app.command("app")
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
) -> None:
    """Serve the pages until Ctrl-C; for research and education, not for clinical use."""
    if not FRONT_DOOR.is_file():
        raise UserError(
            f"The pages are not beside the package: {FRONT_DOOR} is missing. Install from a checkout with "
            "`pip install -e .`."
        )
    _check_free(address, port)
    print(f"{NOTICE}\nOpen http://{'localhost' if address == '0.0.0.0' else address}:{port}", flush=True)
    # The server takes this process's place, so that signals and the exit status are its own. The core does
    # not import streamlit; it only starts it.
    command = [sys.executable, "-m", "streamlit", "run", str(FRONT_DOOR)]
    options = ["--server.port", str(port), "--server.address", address]
    os.execv(sys.executable, command + options)


def _check_free(address: str, port: int) -> None:
    """UserError when nothing can listen on address and port; the server itself would say so with a trace."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise UserError(
            f"Nothing can listen on {address}, port {port}: {error.strerror or error}. "
            "Choose another with --port or --address."
        ) from error
