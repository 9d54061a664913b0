"""One public server with its provider for this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.provider import running
from tests.access.server import Server, serving


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path, tiny_data: Path) -> Iterator[Server]:
    """`lungvae app --public --log-json` with tiny models, and a provider to sign in at."""
    pytest.importorskip("authlib", reason="needs Authlib: pip install lungvae[server]")
    base = tmp_path_factory.mktemp("public")
    folders = {"models": tiny_models, "data": tiny_data.parent}
    for name in ("runs", "workspace"):
        folders[name] = base / name
        folders[name].mkdir()
    with running() as provider, serving(base, folders, provider, "--log-json") as server:
        yield server
