"""Whatever lies in one folder hurts nobody else: bad contents in every file, opened by every route.

A model may vanish from the list, with the reason; a route says 404 with a sentence, never 500; the other
model, the data sets, the reports and the health route are as before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core.errors import UserError
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.serving.jobs.evaluations import find_reports
from lungvae_core.serving.jobs.searches import find_searches, read_search
from lungvae_core.serving.workspace.datasets import find_data
from lungvae_core.training.checkpoints import KNOWN, OPTIONAL, SERVED, TRAINED
from tests.conftest import ROOT
from tests.test_json_text import BAD

BAD_BYTES = {
    name: BAD[name] for name in ("empty", "deep", "long integer", "lone surrogate", "large number")
} | {
    "null": b"null",
    "list": b"[]",
    "object": b"{}",
    "text": b'"x"',
    "null bytes": bytes(2_000),
    "random": bytes(range(256)) * 40,
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"format": 1}'.encode("utf-16"),
    "gigantic text": b'{"format": 1, "title": "' + b"x" * 3_000_000 + b'"}',
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "parquet": b"PAR1" + bytes(40) + b"\xff\xff\xff\x7fPAR1",
    "header beyond the file": (2**62).to_bytes(8, "little") + b"{}",
}


def _write(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(content), None)[1]


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


KINDS: dict[str, Callable[[Path], None]] = {
    **{name: _write(content) for name, content in BAD_BYTES.items()},
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "circle": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse": _sparse,
}
# One kind of each sort for continuous integration; the others where there is time for all of them.
_SOME = ("deep", "list", "parquet", "circle")
SOME_KINDS = [kind if kind in _SOME else pytest.param(kind, marks=pytest.mark.exhaustive) for kind in KINDS]
FILES = sorted(
    {*SERVED, *OPTIONAL, *KNOWN, *TRAINED, "report.json", "search.json", "trials.csv", "sprites.jpg"}
)
DATA_FILES = ["dataset.json", "table.parquet", "slices.npy", "masks.npy"]
CONTENTS = [*(f"runs/bad/{name}" for name in FILES), *(f"data/bad/{name}" for name in DATA_FILES)]


@pytest.fixture
def place(tiny_models, tiny_data, tmp_path, monkeypatch) -> Iterator[Path]:
    """Folders of the test's own with a good model, one that is damaged, a data set and a report."""
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "models" / "good")
    shutil.copytree(tiny_models / "tiny-dirvae", tmp_path / "runs" / "bad")
    shutil.copytree(tiny_data, tmp_path / "data" / "good")
    shutil.copytree(tiny_data, tmp_path / "data" / "bad")
    (tmp_path / "models" / "reports").mkdir()
    shutil.copy(ROOT / "models" / "reports" / "dirvae-paper-mvb.json", tmp_path / "models" / "reports")
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()


def damaged(path: Path, kind: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    KINDS[kind](path)


def addresses(model: str) -> list[str]:
    """An address of every route, walked; parameters by their names."""
    values = {
        "name": model,
        "row": "0",
        "index": "0",
        "token": "x",
        "unit": "nodule",
        "method": "pca",
        "key": "0" * 16,
        "model": model,
    }
    found = []
    for route in routes():
        if isinstance(route, Route) and "GET" in (route.methods or ()):
            path = route.path
            for name in route.param_convertors:
                assert name in values, f"{path}: say here what {name} may be"
                path = path.replace(f"{{{name}:int}}", values[name]).replace(f"{{{name}}}", values[name])
            found.append(path)
    assert len(found) > 5
    return found


def unharmed(place: Path, client: TestClient) -> None:
    """The good model, its data, the report and the health route are there; nothing answered 500."""
    health = client.get("/api/health")
    assert health.status_code == 200
    listed = registry()
    assert "good" in [entry.name for entry in listed.entries()]
    for reason in listed.broken().values():
        reason.encode()
        assert len(reason) < 1_500
    assert client.get("/api/models/good/slices/0.png").status_code == 200
    for address in addresses("bad"):
        answer = client.get(address)
        assert answer.status_code in (200, 202, 400, 404, 405, 422), (address, answer.text[:300])
    sets, _ = find_data(listed.settings)
    assert "good" in [each.folder.name for each in sets]
    reports, left_out = find_reports(listed.settings)
    assert [each.protocol for each in reports if each.path.parent.name == "reports"] == ["paper"]
    for reason in left_out.values():
        assert len(reason) < 1_500


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=routes()), raise_server_exceptions=False)


def trial(place: Path, client: TestClient, folder: Path, name: str, kind: str) -> None:
    damaged(folder / name, kind)
    unharmed(place, client)
    for found in find_searches(registry().settings):
        with contextlib.suppress(UserError):
            read_search(found)


# A few by default: the worst that was seen, in the file that every page reads.
@pytest.mark.parametrize("kind", ["deep", "long integer", "lone surrogate", "pipe", "device", "list"])
@pytest.mark.parametrize("name", ["config.json", "evaluation.json"])
def test_a_bad_description_of_a_model_hurts_nobody_else(name, kind, place, client):
    trial(place, client, place / "runs" / "bad", name, kind)


@pytest.mark.parametrize("name", ["runs/bad/clusters.json", "data/bad/dataset.json", "runs/bad/config.json"])
def test_a_link_that_leads_nowhere_hurts_nobody_else(name, place, client):
    trial(place, client, (place / name).parent, Path(name).name, "circle")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", SOME_KINDS)
@pytest.mark.parametrize("path", CONTENTS)
def test_bad_contents_of_a_run_or_data_set_hurt_nobody_else(path, kind, place, client):
    trial(place, client, (place / path).parent, Path(path).name, kind)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", SOME_KINDS)
@pytest.mark.parametrize("folder", ["models/reports", "workspace/evaluations/bad", "runs/bad"])
def test_bad_reports_hurt_nobody_else(folder, kind, place, client):
    (place / folder).mkdir(parents=True, exist_ok=True)
    trial(place, client, place / folder, "report.json", kind)


@pytest.mark.parametrize(
    "name",
    [b"a\xff\xfe", b"new\nline", b"\x1b[31mred", "\u202egnp".encode(), b"x.tmp", b".hidden", b"y" * 255],
)
def test_a_folder_of_any_name_hurts_nobody_else(name, place, client):
    for base in ("runs", "data"):
        (place / base / "bad").rename(os.fsdecode(os.fsencode(place / base) + b"/" + name))
    unharmed(place, client)
