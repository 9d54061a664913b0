"""The app as others reach it: `lungvae app --public` with a sign-in at the tests' own OpenID provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from lungvae_core.serving.workspace.access import COOKIE
from tests.access.provider import CLIENT, SECRET, Provider
from tests.running import environment_of, free_port, running

COOKIE_SECRET = "a secret of the tests with more than 32 characters"


@dataclass
class Server:
    """A running app."""

    url: str
    folder: Path  # working folder; models, runs, data and workspace are told by the environment
    environment: dict[str, str]
    log: Path
    provider: Provider
    process: subprocess.Popen


def settings_file(folder: Path, url: str, provider: str, rules: str = "") -> Path:
    """The TOML with the sign-in."""
    path = folder / "sign-in.toml"
    path.write_text(
        f"""[auth]
redirect_uri = "{url}/oauth2callback"
cookie_secret = "{COOKIE_SECRET}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{provider}/.well-known/openid-configuration"

[lungvae]
researchers = ["researcher@lab.example"]
researcher_groups = ["lung-lab"]
{rules}
"""
    )
    return path


def cookie(origin: str, *, age: float = 0, secret: str = COOKIE_SECRET, **claims: Any) -> dict[str, str]:
    """The cookie that Streamlit would have given somebody `age` seconds ago."""

    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - age)

    text = json.dumps({"origin": origin, "is_logged_in": True, "provider": "default", **claims})
    signed = URLSafeTimedSerializer(secret, salt=COOKIE, signer=Earlier).dumps(text)
    return {COOKIE: signed if isinstance(signed, str) else signed.decode()}


@contextmanager
def serving(
    folder: Path, folders: Mapping[str, Path], provider: Provider, *options: str, rules: str = ""
) -> Iterator[Server]:
    """`lungvae app --public` until the block ends."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    others = {name: value for name, value in os.environ.items() if not name.startswith("LUNGVAE_")}
    environment = environment_of(others, folders)
    sign_in = settings_file(folder, url, provider.origin, rules)
    log = folder / "server.log"
    command = [sys.executable, "-m", "lungvae_core.cli", "app", "--public", "--port", str(port)]
    command += ["--sign-in", str(sign_in), *options]
    with running(command, url, environment, cwd=folder, log=log) as process:
        yield Server(url, folder, environment, log, provider, process)
