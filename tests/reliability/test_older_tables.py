"""Tables that an earlier version let in: every column of every type, on every page, route and command.

Earlier versions checked a run's and a data set's key alone. What is beside it can be of any type that parquet
has; what the product cannot use counts as not known, and is reported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.data.columns import KEY, TABLE
from lungvae_core.data.slices import _FILES
from lungvae_core.files import sha256
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.training.checkpoints import CODE
from tests.commands import Forks, World, commands, sound
from tests.fuzz.test_pages import PAGES
from tests.pages.conftest import open_page
from tests.serving.http.test_bad_contents import addresses

Table = pd.DataFrame
Values = Callable[[int], pd.Series]
DAY = pd.Timestamp("2026-01-01")
TYPES: dict[str, Values] = {
    "text": lambda n: pd.Series([("x", "", "5", "NaN", "1e999", "<b>")[i % 6] for i in range(n)]),
    "long text": lambda n: pd.Series(["x" * 5_000] * n),
    "missing": lambda n: pd.Series([None] * n, dtype=object),
    "NaN": lambda n: pd.Series(np.full(n, np.nan)),
    "infinite": lambda n: pd.Series(np.where(np.arange(n) % 2, np.inf, -np.inf)),
    "huge": lambda n: pd.Series(np.full(n, 1e308)),
    "huge integers": lambda n: pd.Series(np.full(n, 2**63 - 1)),
    "unsigned": lambda n: pd.Series(np.full(n, 2**64 - 1, np.uint64)),
    "negative": lambda n: pd.Series(-np.arange(n) - 1),
    "fractions": lambda n: pd.Series(np.arange(n) / 7),
    "some missing": lambda n: pd.Series(np.where(np.arange(n) % 3, 1.0, np.nan)),
    "yes or no": lambda n: pd.Series(np.arange(n) % 2 == 0),
    "bytes": lambda n: pd.Series([b"\xff\xfe"] * n),
    "dates": lambda n: pd.Series([DAY + pd.Timedelta(days=i) for i in range(n)]),
    "dates of a zone": lambda n: pd.Series([DAY.tz_localize("Asia/Tokyo")] * n),
    "durations": lambda n: pd.Series([pd.Timedelta(hours=i) for i in range(n)]),
    "times": lambda n: pd.Series([DAY.time()] * n),
    "decimals": lambda n: pd.Series([Decimal("1.5")] * n),
    "categories": lambda n: pd.Series(pd.Categorical(["a", "b"] * (n // 2))),
    "lists": lambda n: pd.Series([[1, 2]] * n),
    "objects": lambda n: pd.Series([{"a": 1}] * n),
}


def columns(of: Values) -> Callable[[Table], Table]:
    """Every column that the product understands, and one that it does not, of one type."""
    names = [column.name for column in TABLE if column.name not in KEY]
    return lambda table: table.assign(**dict.fromkeys([*names, "site", "ssim", "mse"], of(len(table))))


def key(name: str, of: Values) -> Callable[[Table], Table]:
    return lambda table: table.assign(**{name: of(len(table))})


def bare(table: Table) -> Table:
    return table[[name for name in table if name in KEY or str(name).startswith(CODE)]]


CHANGES: dict[str, Callable[[Table], Table]] = {
    **{f"columns of {name}": columns(of) for name, of in TYPES.items()},
    **{f"{part} of {name}": key(part, of) for part in KEY for name, of in TYPES.items()},
    "nothing beside the key": bare,
    "one slice over and over": lambda table: table.assign(patient_id="P", nodule=0, slice=0),
    "odd names": lambda table: table.assign(
        **dict.fromkeys(["", "x" * 500, "row", "index", "code_x", "umap_x", "<b>", "a\nb"], 1)
    ),
}
SOME = [
    *("columns of text", "columns of huge integers", "columns of dates", "nothing beside the key"),
    *("patient_id of missing", "slice of text"),
]


@pytest.fixture
def folder(tiny_models: Path, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    shutil.copytree(tiny_models, tmp_path / "models")
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    registry.cache_clear()
    yield tmp_path / "models"
    registry.cache_clear()


def changed(path: Path, change: str) -> None:
    CHANGES[change](pd.read_parquet(path)).to_parquet(path, index=False)


def walk(folder: Path, change: str, pages: list[str]) -> list[str]:
    """Every route, and pages, of a model whose table is changed; what the pages say of it."""
    changed(folder / "tiny-gvae" / "latents.parquet", change)
    client = TestClient(Starlette(routes=routes()))
    for address in addresses("tiny-gvae"):
        assert client.get(address).status_code in (200, 202, 400, 404), address
    texts = []
    for page in pages:
        app = open_page(page, model="tiny-gvae", colour="malignancy")
        errors = [each.value for each in app.error]
        assert not [each for each in errors if "fault of the program" in each], (page, errors)
        texts += errors + [each.value for each in app.caption]
    assert registry().load("tiny-dirvae").codes.shape == (120, 4)
    return texts


@pytest.mark.parametrize("change", SOME)
def test_a_few_older_tables_crash_no_route_and_no_map(change: str, folder: Path):
    texts = walk(folder, change, ["map/latent_map.py"])
    if change.startswith("columns of"):
        assert any("count as not known" in each for each in texts)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "change", [each if each in SOME else pytest.param(each, marks=pytest.mark.exhaustive) for each in CHANGES]
)
def test_older_tables_crash_no_page(change: str, folder: Path):
    walk(folder, change, list(PAGES))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "change", [each if each in SOME else pytest.param(each, marks=pytest.mark.exhaustive) for each in CHANGES]
)
def test_older_tables_crash_no_command(change: str, forks: Forks, world: World, tmp_path: Path):
    data = Path(shutil.copytree(str(world.inputs["data"]), tmp_path / "own"))
    changed(data / "table.parquet", change)
    info = json.loads((data / "dataset.json").read_text())
    info["content_hash"] = sha256(*(data / name for name in _FILES))
    (data / "dataset.json").write_text(json.dumps(info))
    world.inputs = world.inputs | {"data": data}
    whole = shutil.copytree(world.run, tmp_path / "whole")
    for name in sorted(commands()):
        shutil.rmtree(world.run, ignore_errors=True)
        shutil.copytree(whole, world.run)
        changed(world.run / "latents.parquet", change)
        ended = forks.run(world.words(name), cwd=world.out.parent, env=world.environment, seconds=240)
        sound(ended)
        shutil.rmtree(world.out, ignore_errors=True)
        world.out.unlink(missing_ok=True)
