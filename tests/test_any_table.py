"""What passes import does not fail later: tables as people have them, through every command and page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lungvae_core.cli import app
from lungvae_core.data.importing import import_arrays
from lungvae_core.data.labels import RULES
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.explore import maps
from lungvae_core.explore.maps import project
from lungvae_core.serving.http.routes import registry
from tests.conftest import blobs
from tests.pages.conftest import open_page

TINY = ["--set", "width=4", "--set", "dimensions=4", "--set", "batch_size=32", "--device", "cpu"]
NAMES = [
    *("split", "score", "score_kind", "ssim", "mse", "label", "fold", "logit", "probability", "called"),
    *("code_site", "code_000", "code_0000", "umap_x", "row", "index", "level_0", "cluster", "notes_all"),
    *("overall", "file", "mask", "patient", "texture", "right", "size_band", "reader_mean", "a,b", "a\nb"),
    *(
        "<b>bold</b>",
        "$x$ :red[y]",
        "12",
        "größe 肺",
        "Note",
        "note",
        "x" * 500,
        "Unnamed: 0",
        "factor_x",
        "error",
    ),
    *(
        "own:score",
        "slices",
        "known",
        "unit",
        "query",
        "_place",
        "at",
        "true",
        "nan",
        "None",
        "column",
        "model",
    ),
]


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Readers' means as malignancy, with 3 exactly and missing ones; ratings as Python lists."""
    every = [f"[{int(m)}, {max(int(m) - 1, 1)}, {int(m)}]" for m in table["malignancy"]]
    mean = [np.mean([int(part) for part in text[1:-1].split(",")]).round(5) for text in every]
    table = table.assign(malignancy_all=every, malignancy=mean)
    table.loc[table["patient_id"] == "TEST-0003", ["malignancy", "malignancy_all"]] = np.nan
    return table


def own_names(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of one's own under every name that the product uses, and of every type."""
    kinds: list[Callable[[int], object]] = [
        lambda i: f"site {i % 3}",
        lambda i: i / 7,
        lambda i: i % 2 == 0,
        lambda i: None,
        lambda i: 0.5,
        lambda i: "x" * 3000 if i == 1 else "-",
        lambda i: "<script>alert(1)</script>" if i % 2 else "a|b",
        lambda i: i * 10**15,
    ]
    own = {name: [kinds[at % len(kinds)](i) for i in range(len(table))] for at, name in enumerate(NAMES)}
    return pd.concat([table, pd.DataFrame(own)], axis=1)


def bare(table: pd.DataFrame) -> pd.DataFrame:
    """Nothing but who, which nodule and a rating; ids are numbers, nodules have names."""
    names = table["patient_id"].str[-4:].astype(int)
    return pd.DataFrame({"Patient ID": names, "nodule": "RUL", "Malignancy": table["malignancy"]})


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Every column that may be empty is, in some rows of each nodule or in whole nodules."""
    table = table.astype(object)
    for at, name in enumerate(table.columns):
        if name not in ("patient_id", "nodule", "slice"):
            table.loc[(np.arange(len(table)) // 5) % 6 == at % 6, name] = ["NA", "-", None, "?", "n/a"][
                at % 5
            ]
    return table


def odd_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Ids with marks of no width, slashes and markup, spelled in several ways."""
    ids = table["patient_id"].str.replace("TEST-", "<i>Ä/ü \u200b§")
    return table.assign(patient_id=np.where(np.arange(len(table)) % 2, ids + "\u00a0", ids.str.lower()))


TABLES = [means, own_names, bare, gaps, odd_ids]


def lungvae(*words: object) -> int:
    """The exit code. A sentence is an answer where a table lacks what is needed; a trace never is."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert not done.exception or isinstance(done.exception, SystemExit | UserError), (words, done.exception)
    return done.exit_code


@pytest.mark.long
@pytest.mark.exhaustive  # minutes a table
@pytest.mark.timeout(900)
@pytest.mark.parametrize("change", TABLES)
def test_what_passes_import_passes_everything(
    change: Callable[[pd.DataFrame], pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "project", lambda codes, _method, **_: project(codes, "pca"))
    for variable, folder in (("MODELS", "models"), ("RUNS", "runs"), ("DATA", "data"), ("WORKSPACE", "w")):
        monkeypatch.setenv(f"LUNGVAE_{variable}", str(tmp_path / folder))
    registry.cache_clear()
    slices, masks, table = blobs(120)
    np.save(tmp_path / "s.npy", slices)
    np.save(tmp_path / "m.npy", masks)
    change(table).to_csv(tmp_path / "t.csv", index=False)
    data, run = tmp_path / "data" / "set", tmp_path / "runs" / "run"
    import_arrays(tmp_path / "s.npy", tmp_path / "t.csv", data, masks=tmp_path / "m.npy")
    assert len(SliceSet.open(data)) == 120
    must = lambda *words: _must(lungvae(*words), words)  # noqa: E731
    must("info", data)
    must("train", "--preset", "gvae", "--data", data, "--out", run, "--epochs", 1, "--no-finish", *TINY)
    must("encode", run, "--data", data)
    must("classify", run)
    must("map", run, "--2d")
    for rule in RULES:
        out = tmp_path / f"{rule}.json"
        options = ["--quick", "--include-seen", "--label-rule", rule]
        lungvae("validate", run, "--data", data, "--out", out, *options)
    must("validate", run, "--data", data, "--out", out, "--quick", "--include-seen", "--task", "mvr")
    quick = ["--quick", "--folds", 2, "--set", "epochs=1", *TINY[:4]]
    evaluation = ["--out", tmp_path / "e.json", "--work", tmp_path / "work", *quick]
    code = lungvae("evaluate", "--data", data, *evaluation)
    assert code == 0 or change in (bare, gaps)  # they lack the pixel spacing that the preset needs
    for command in ("clusters", "disentanglement", "directions"):
        lungvae(command, run, "--quick")
    lungvae("measure", run, "--quick", "--starts", 5)
    lungvae("counterfactual", run, "--row", 3)
    must("predict", run, tmp_path / "s.npy", "--index", 3)
    must("export-explorer", run, "--out", tmp_path / "explorer.html")
    for page in (
        "map/latent_map.py",
        "traversal/traversal.py",
        "predict/predict.py",
        "knowledge/clusters.py",
        "knowledge/directions.py",
        "compare.py",
    ):
        open_page(page, model="run")
    _every_column_filters_and_colours(registry().load("run"))
    registry.cache_clear()


def _must(code: int, words: tuple[object, ...]) -> None:
    assert code == 0, words


def _every_column_filters_and_colours(model) -> None:
    from lungvae_core.explore import filters
    from lungvae_core.serving.lesions import selection
    from lungvae_core.serving.maps import points

    for unit in ("slice", "nodule"):
        table = points.unit_table(model, unit)
        for choice in points.colour_choices(model):
            points.colouring(model, unit, choice).summary()
        for column in filters.columns(table):
            assert column.title
            condition = (
                {"column": column.name, "from": column.low, "to": column.high}
                if column.kind == "number"
                else {"column": column.name, "in": list(column.options)}
            )
            filters.mask(table, [condition])
        points.lesions(model, unit)
    rows = list(range(0, 120, 7))
    selection.cards(model, rows)
    selection.composition(model, rows)
    selection.csv(model, rows)
