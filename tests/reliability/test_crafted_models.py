"""Models made to hurt: each is refused in a sentence, quickly and in little memory; the others still open."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from lungvae_core.errors import UserError
from lungvae_core.serving.models import registry as registry_module
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings

SECONDS = 5  # that a refusal may take, on a machine that has other work too
MEGABYTES = 300  # that it may take above a process that has everything imported


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        raw = json.loads((folder / "config.json").read_text())
        raw["config"]["model"].update(changes)
        (folder / "config.json").write_text(json.dumps(raw))

    return change


def change_state(name: str, **changes: Any) -> Callable[[Path], None]:
    """Another state in a safetensors file, whose numbers stay: "config" and what else a classifier says."""

    def change(folder: Path) -> None:
        def edit(header: dict[str, Any]) -> None:
            state = json.loads(header["__metadata__"]["state"])
            state.pop("content_sha256", None)
            settings = changes.get("config", {})
            state |= changes | ({"config": state["config"] | settings} if settings else {})
            header["__metadata__"]["state"] = json.dumps(state)

        change_header(folder / name, edit)

    return change


def change_header(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def change_tensor(**entry: Any) -> Callable[[Path], None]:
    """Another claim of the weights' first tensor."""

    def edit(header: dict[str, Any]) -> None:
        name = next(name for name in header if name.endswith("weight"))
        header[name] |= entry

    return lambda folder: change_header(folder / "model.safetensors", edit)


def with_number(name: str, value: float) -> Callable[[Path], None]:
    """One number of a file's weights, without a hash that would tell."""

    def change(folder: Path) -> None:
        path = folder / name
        raw = path.read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
        state = json.loads(metadata["state"])
        state.pop("content_sha256", None)
        tensors = load_file(path)
        floats = next(tensor for tensor in tensors.values() if tensor.is_floating_point() and tensor.numel())
        floats.view(-1)[0] = value
        save_file(tensors, path, metadata={"state": json.dumps(state)})

    return change


def truncate(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: len(raw) * 2 // 3])

    return change


def huge_header(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 100_000_000))
        stream.truncate(100_000_008)


def many_names(folder: Path) -> None:
    one = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(f'"{number}":{one}' for number in range(100_000)) + "}").encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def sparse_weights(folder: Path) -> None:
    """A file of 20 GB that takes no room on the disk, and weights that fit their configuration."""
    change_config(network="released", width=256, dimensions=4096)(folder)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.truncate(20_000_000_000)


def change_codes(edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "latents.parquet"
        edit(pd.read_parquet(path)).to_parquet(path, index=False)

    return change


def many_rows(name: str) -> Callable[[Path], None]:
    """Six million rows of one value in a few kilobytes."""
    return lambda folder: write_zeros(folder / name, rows=6_000_000, columns=1)


def wide_rows(folder: Path) -> None:
    """Rows of which there may be as many, but not of so many columns."""
    write_zeros(folder / "latents.parquet", rows=4_800_000, columns=12)


def write_zeros(path: Path, *, rows: int, columns: int) -> None:
    zeros = pa.chunked_array([pa.array(np.zeros(100_000, np.float32))] * (rows // 100_000))
    table = pa.table({f"code_{number:03d}": zeros for number in range(columns)})
    pq.write_table(table, path, row_group_size=rows, compression="zstd")


def inflating_page(folder: Path) -> None:
    """One text of a single letter over and over, which zstd packs into kilobytes."""
    table = pd.read_parquet(folder / "latents.parquet")
    text = pa.array(["x" * 270_000_000] + ["x"] * (len(table) - 1))
    whole = pa.Table.from_pandas(table).append_column("note", text)
    pq.write_table(whole, folder / "latents.parquet", compression="zstd", use_dictionary=False)


def repeated_text(folder: Path) -> None:
    """A dictionary's one long text that every row refers to."""
    table = pd.read_parquet(folder / "latents.parquet")
    rows = len(table)
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 3_000_000]))
    whole = pa.Table.from_pandas(table).append_column("note", text.cast(pa.string()))
    pq.write_table(whole, folder / "latents.parquet", compression="zstd", use_dictionary=["note"])


def nested_cells(folder: Path) -> None:
    table = pd.read_parquet(folder / "latents.parquet")
    pa_table = pa.Table.from_pandas(table).append_column("note", pa.array([[1, 2]] * len(table)))
    pq.write_table(pa_table, folder / "latents.parquet")


CLASSIFIER, ENSEMBLE = "classifier.safetensors", "ensemble.safetensors"
FOLDS, ATTENTION = "folds.safetensors", "attention.safetensors"
CRAFTED: dict[str, Callable[[Path], None]] = {
    "width 100000": change_config(width=100_000),
    "width 256 and 4096 dimensions": change_config(width=256, dimensions=4096, network="released"),
    "dimensions 1e9": change_config(dimensions=10**9),
    "dimensions -1": change_config(dimensions=-1),
    "dimensions 4.5": change_config(dimensions=4.5),
    "dimensions NaN": change_config(dimensions=float("nan")),
    "width true": change_config(width="4e4"),
    "more dimensions": change_config(dimensions=5),
    "another prior": change_config(prior="dirichlet"),
    "classifier of hidden layers 1e9": change_state(CLASSIFIER, config={"hidden": [10**9]}),
    "classifier of hidden layers 16384": change_state(CLASSIFIER, config={"hidden": [16384] * 16}),
    "classifier of 1e6 layers": change_state(CLASSIFIER, config={"hidden": [1] * 10**6}),
    "classifier of negative layers": change_state(CLASSIFIER, config={"hidden": [-8]}),
    "classifier of another model": change_state(CLASSIFIER, dimensions=10**9),
    "classifier of text": change_state(CLASSIFIER, dimensions="4"),
    "ensemble of 1e9": change_state(ENSEMBLE, members=10**9),
    "ensemble of -1": change_state(ENSEMBLE, members=-1),
    "ensemble of wide layers": change_state(ENSEMBLE, config={"hidden": [16384] * 16}),
    "ensemble of other patients": change_state(ENSEMBLE, patients=["a"] * 10_000),
    "ensemble of no patients": change_state(ENSEMBLE, patients=None),
    "folds of 1e9": change_state(FOLDS, members=10**9),
    "folds of other patients": change_state(FOLDS, patients=["a"] * 10_000),
    "folds cut short": truncate(FOLDS),
    "folds NaN": with_number(FOLDS, float("nan")),
    "attention of 1e9": change_state(ATTENTION, members=10**9),
    "attention of wide layers": change_state(ATTENTION, config={"hidden": 16_384}),
    "attention of another model": change_state(ATTENTION, dimensions=10**9),
    "attention of no patients": change_state(ATTENTION, patients=None),
    "attention of other patients": change_state(ATTENTION, patients=["a"] * 10_000),
    "attention cut short": truncate(ATTENTION),
    "attention NaN": with_number(ATTENTION, float("nan")),
    "header of 100 MB": huge_header,
    "header of 100000 names": many_names,
    "20 GB of nothing": sparse_weights,
    "offsets outside": change_tensor(data_offsets=[0, 10**12]),
    "offsets backwards": change_tensor(data_offsets=[64, 0]),
    "offsets negative": change_tensor(data_offsets=[-64, 0]),
    "shape of 1e18": change_tensor(shape=[10**9, 10**9]),
    "shape of 4e9 squared": change_tensor(shape=[2**32, 2**32]),
    "shape of floats": change_tensor(shape=[1.5, 2]),
    "another type": change_tensor(dtype="I64"),
    "no type": change_tensor(dtype=None),
    "unknown type": change_tensor(dtype="F4"),
    "weights cut short": truncate("model.safetensors"),
    "classifier cut short": truncate(CLASSIFIER),
    "ensemble cut short": truncate(ENSEMBLE),
    "codes cut short": truncate("latents.parquet"),
    "weight NaN": with_number("model.safetensors", float("nan")),
    "weight infinite": with_number("model.safetensors", float("inf")),
    "classifier NaN": with_number(CLASSIFIER, float("nan")),
    "ensemble NaN": with_number(ENSEMBLE, float("nan")),
    "code NaN": change_codes(lambda table: table.assign(code_000=np.nan)),
    "code infinite": change_codes(lambda table: table.assign(code_000=np.inf)),
    "code of text": change_codes(lambda table: table.assign(code_000="x")),
    "no rows": change_codes(lambda table: table.iloc[:0]),
    "no patients": change_codes(lambda table: table.drop(columns="patient_id")),
    "6 million rows": many_rows("latents.parquet"),
    "many wide rows": wide_rows,
    "a page of 270 MB": inflating_page,
    "360 MB of repeated text": repeated_text,
    "cells of lists": nested_cells,
}
MAPS: dict[str, Callable[[Path], None]] = {
    "6 million rows": many_rows("map-slice.parquet"),
    "cut short": truncate("map-slice.parquet"),
    "NaN": lambda folder: changed_map(folder, lambda table: table.assign(umap_x=np.nan)),
    "text": lambda folder: changed_map(folder, lambda table: table.assign(umap_x="here")),
    "fewer rows": lambda folder: changed_map(folder, lambda table: table.iloc[:5]),
}


def changed_map(folder: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    edit(pd.read_parquet(folder / "map-slice.parquet")).to_parquet(folder / "map-slice.parquet", index=False)


@pytest.fixture
def runs(tiny_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models, tmp_path / "runs"))


@pytest.fixture
def registry(runs: Path, tmp_path: Path) -> Registry:
    return Registry(
        Settings(models=tmp_path / "no", runs=runs, data=tmp_path / "no", workspace=tmp_path / "w")
    )


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_model_is_refused_and_the_others_open(registry: Registry, runs: Path, kind: str) -> None:
    CRAFTED[kind](runs / "tiny-gvae")
    assert "tiny-dirvae" in {entry.name for entry in registry.entries()}
    began = time.monotonic()
    with pytest.raises(UserError) as refused:
        registry.load("tiny-gvae")
    assert time.monotonic() - began < SECONDS
    assert len(str(refused.value)) < 1000
    assert registry.load("tiny-dirvae").codes.shape == (120, 4)
    # It is now among those that are left out, and asking again costs nothing.
    assert list(registry.broken()) == [str(runs / "tiny-gvae")]
    with pytest.raises(UserError):
        registry.load("tiny-gvae")


@pytest.mark.parametrize("kind", MAPS)
def test_a_crafted_map_is_refused_and_all_else_works(registry: Registry, runs: Path, kind: str) -> None:
    MAPS[kind](runs / "tiny-gvae")
    model = registry.load("tiny-gvae")
    for _ in range(2):
        with pytest.raises(UserError, match=r"map-slice\.parquet"):
            model.map("slice", "umap")
    assert model.map("nodule", "umap").shape == (24, 2)


_TRY = """
import json, resource, sys, time
from pathlib import Path
from lungvae_core.errors import UserError
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
base = Path(sys.argv[1])
none = base / "none"
Registry(Settings(models=none, runs=base / "good", data=none, workspace=none)).load("tiny-gvae")
registry = Registry(Settings(models=none, runs=base / "bad", data=none, workspace=none))
outcomes = {}
for folder in sorted((base / "bad").iterdir()):
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        registry.load(folder.name).map("slice", "umap")
        reason = None
    except UserError as error:
        reason = str(error)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    outcomes[folder.name] = (reason, more, time.monotonic() - began)
print(json.dumps(outcomes))
"""


@pytest.mark.long
def test_crafted_models_take_little_memory_and_time(tiny_models: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_models, tmp_path / "good")
    for number, (kind, craft) in enumerate([*CRAFTED.items(), *MAPS.items()]):
        folder = tmp_path / "bad" / f"{number:02d} {kind}"
        shutil.copytree(tiny_models / "tiny-gvae", folder)
        craft(folder)
    command = [sys.executable, "-c", _TRY, str(tmp_path)]
    outcomes = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    for name, (reason, megabytes, seconds) in outcomes.items():
        assert reason, name
        assert megabytes < MEGABYTES, name
        assert seconds < SECONDS, name


def test_a_slow_model_keeps_nobody_waiting_and_is_opened_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    may, opened = threading.Event(), []

    class Slow(LoadedModel):
        def __init__(self, entry: Any, settings: Any) -> None:
            opened.append(entry.name)
            if entry.name == "tiny-gvae":
                assert may.wait(60)
            super().__init__(entry, settings)

    monkeypatch.setattr(registry_module, "LoadedModel", Slow)
    models: list[LoadedModel] = []
    askers = [
        threading.Thread(target=lambda: models.append(registry.load("tiny-gvae")), daemon=True)
        for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    assert registry.load("tiny-dirvae").entry.name == "tiny-dirvae"  # while the other is being opened
    assert len(registry.entries()) == 2
    assert not models
    may.set()
    for asker in askers:
        asker.join(60)
    assert len(models) == 4
    assert len({id(model) for model in models}) == 1
    assert opened.count("tiny-gvae") == 1


def test_a_failure_is_remembered_until_the_folder_changes(
    registry: Registry, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (runs / "tiny-gvae" / "model.safetensors").read_bytes()
    truncate("model.safetensors")(runs / "tiny-gvae")
    with pytest.raises(UserError, match="damaged") as first:
        registry.load("tiny-gvae")
    with monkeypatch.context() as patched:
        patched.setattr(registry_module, "LoadedModel", None)  # not tried again
        with pytest.raises(UserError, match="damaged") as second:
            registry.load("tiny-gvae")
    assert str(second.value) == str(first.value)
    assert second.value is not first.value
    assert [entry.name for entry in registry.entries()] == ["tiny-dirvae"]
    (runs / "tiny-gvae" / "model.safetensors").write_bytes(whole)
    assert registry.load("tiny-gvae").entry.name == "tiny-gvae"
    assert registry.broken() == {}


def test_listing_models_loads_no_weights(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "LoadedModel", None)
    monkeypatch.setattr("lungvae_core.training.weights_file.load_tensors", None)
    assert [entry.name for entry in registry.entries()] == ["tiny-dirvae", "tiny-gvae"]
