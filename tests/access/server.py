"""The app as others reach it: `lungvae app --public` with a sign-in at the tests' own OpenID provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from lungvae_core.serving.workspace.access import COOKIE
from tests.access.provider import CLIENT, SECRET, Provider, free_port

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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNGVAE_")}
    environment |= {f"LUNGVAE_{name.upper()}": str(path) for name, path in folders.items()}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    path = settings_file(folder, url, provider.origin, rules)
    log = folder / "server.log"
    command = [sys.executable, "-m", "lungvae_core.cli", "app", "--public", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--sign-in", str(path), *options],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{url}/api/health", timeout=2):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.2)
        yield Server(url, folder, environment, log, provider, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
