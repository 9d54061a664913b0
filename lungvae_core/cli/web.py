"""`lungvae app`: the pages in a browser."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core import NOTICE
from lungvae_core.app_files import FRONT_DOOR
from lungvae_core.cli import app
from lungvae_core.errors import UserError

if TYPE_CHECKING:
    from lungvae_core.serving.workspace.access import Access

# Streamlit options, set here so that neither a file nor the environment can override them.
FIXED: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "server.headless": True,
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "client.showErrorDetails": "none",
    # After each page Streamlit would search all Python objects for garbage, and look up the paths of
    # thousands of modules: each blocks sliders for a fifth of a second. Files updated while the server runs
    # take effect together, at the next start.
    "runner.postScriptGC": False,
    "server.fileWatcherType": "none",
    "runner.magicEnabled": False,  # no page relies on bare expressions for output
}
# Streamlit's welcome message and coloured tracebacks are not JSON.
FIXED_JSON = {"logger.hideWelcomeMessage": True, "logger.enableRich": False}


@app.command("app")
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8501,
    address: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Default: 127.0.0.1, which only this machine reaches; 0.0.0.0 with "
            "--public."
        ),
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Let other machines in; needs a sign-in (docs/server.md).")
    ] = False,
    sign_in: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with the sign-in's table [auth]. Default: LUNGVAE_SIGN_IN, else "
            ".streamlit/secrets.toml."
        ),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder from which people may read scans and tables; repeatable. See LUNGVAE_SOURCES."
        ),
    ] = None,
    no_sign_in: Annotated[
        str,
        typer.Option(
            metavar="WORDS",
            help="Let other machines in without a sign-in. Say 'anyone on this network may use it', or "
            "'anyone on this network may use it, train and delete'.",
        ),
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A host name of this server; repeatable. See LUNGVAE_HOSTS."),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log one line of JSON per request, without patients' data.")
    ] = False,
) -> None:
    """Serve the pages until Ctrl-C; for research and education, not for clinical use."""
    from lungvae_core.serving.http import logs, sockets
    from lungvae_core.serving.workspace.access import read_access

    if not FRONT_DOOR.is_file():
        raise UserError(
            f"The app's files are not complete: {FRONT_DOOR} is missing. Install lungvae anew, from its "
            "wheel or from a checkout with `pip install -e .`."
        )
    address = address or ("0.0.0.0" if public else "127.0.0.1")
    variables = _environment(sign_in, no_sign_in, allow_host or [], sources or [], log_json)
    access = read_access(os.environ | variables)
    sockets.proxies(os.environ)
    as_json = logs.writes_json(os.environ | variables)
    _check_access(access, address, public)
    _check_free(address, port)
    _announce(access, address, port, as_json)
    os.environ.update(variables)  # the server reads these variables
    # Every script runs in its own thread, and each new arena of the C library keeps the memory it once had.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    options = FIXED | (FIXED_JSON if as_json else {}) | {"server.port": port, "server.address": address}
    # The server takes this process's place, so that signals and the exit status are its own. The core does
    # not import streamlit; it only starts it.
    os.execv(sys.executable, [sys.executable, str(FRONT_DOOR), json.dumps(options)])


def _environment(
    sign_in: Path | None, no_sign_in: str, hosts: list[str], sources: list[Path], log_json: bool
) -> dict[str, str]:
    """Return the options as environment variables, which the server reads."""
    if sign_in is not None and not sign_in.is_file():
        raise UserError(f"There is no file {sign_in} with a sign-in.")
    variables = {
        "LUNGVAE_SIGN_IN": "" if sign_in is None else str(sign_in.resolve()),
        "LUNGVAE_NO_SIGN_IN": no_sign_in,
        "LUNGVAE_HOSTS": ",".join(filter(None, [os.environ.get("LUNGVAE_HOSTS"), *hosts])) if hosts else "",
        "LUNGVAE_SOURCES": os.pathsep.join(str(folder.resolve()) for folder in sources),
        "LUNGVAE_LOG": "json" if log_json else "",
    }
    return {name: value for name, value in variables.items() if value}


def _check_access(access: Access, address: str, public: bool) -> None:
    """UserError if others could get in without an explicit option, or if options contradict each other."""
    from lungvae_core.serving.workspace.access import is_loopback

    if access.sign_in is not None and access.open_words:
        raise UserError(
            "A sign-in is set up, and you say that none is needed. Leave out --no-sign-in (and "
            "LUNGVAE_NO_SIGN_IN), or the table [auth]."
        )
    if (public or not is_loopback(address)) and access.local_only:
        raise UserError(
            f"On {address} other machines could open this server, and nobody would have to sign in. Set up a "
            "sign-in (docs/server.md), or say in words that none is needed: "
            '--no-sign-in "anyone on this network may use it".'
        )
    if access.sign_in is not None and importlib.util.find_spec("authlib") is None:
        raise UserError("A sign-in needs the package Authlib: `pip install 'lungvae[server]'`.")


def _announce(access: Access, address: str, port: int, as_json: bool) -> None:
    """Say where the server is and who has access; if others can reach it, the audit log records that."""
    from lungvae_core.serving.workspace import audit
    from lungvae_core.serving.workspace.settings import Settings

    where = f"http://{'localhost' if address in ('0.0.0.0', '::') else address}:{port}"
    who = "this machine only"
    if access.sign_in is not None:
        where, who = access.sign_in.origin, "people who sign in"
    elif access.open_words:
        who = access.open_words
    if not access.local_only:
        audit.record(Settings(), audit.SERVER_START, f"{address}, port {port}: {who}")
    if as_json:
        return
    print(NOTICE)
    print(f"Open {where}", flush=True)
    if not access.local_only:
        print(f"Open to: {who}.", flush=True)


def _check_free(address: str, port: int) -> None:
    """UserError if address and port are not available; the server itself would only show a traceback."""
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
