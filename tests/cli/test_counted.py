"""Every command that makes figures of a table says how many rows were used, how many left out, and why."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from lungvae_core.data.slices import SliceSet, write
from tests.commands import Forks, World, commands

# Parameters by which a command gets somebody's table, or a run that holds one.
TABLES = {"data", "run", "runs", "model", "slices", "table", "manifest", "split", "folder"}
# Commands that print no figure of the rows they read, and why.
WITHOUT_FIGURES = {
    "publish": "the size of a folder",
    "export-explorer": "the size of a file",
    "delete": "what was removed",
    "prepare": "its own account, which tests/data/test_prepare.py looks at",
}
QUICK = {"encode", "import", "info", "leaks", "predict", "project", "counterfactual", "measure"}
OUTPUTS = {"validate": ".json", "evaluate": ".json", "leaks": ".csv", "project": ".npy"}
SENTENCE = re.compile(r"(All [\d,]+ \w+ were used\.|[\d,]+ of [\d,]+ \w+ were used\. Left out: [\d,]+ .+\.)")


def of_tables() -> list[str]:
    """The commands that take a table."""
    return sorted(
        name
        for name, function in commands().items()
        if TABLES & set(inspect.signature(function).parameters) and name not in WITHOUT_FIGURES
    )


def test_the_commands_without_figures_are_there() -> None:
    assert set(commands()) >= set(WITHOUT_FIGURES) | QUICK


@pytest.fixture(scope="session")
def gappy(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The tiny data with ratings and masks that lack, of which rows were left out at import."""
    data = SliceSet.open(tiny_data)
    table = data.table.copy()
    lack = table["patient_id"] < "TEST-0003"
    table.loc[lack, ["malignancy", "malignancy_all", "texture_all"]] = None
    masks = data.masks * (~lack).to_numpy()[:, None, None].astype("uint8")
    info = data.info.model_copy(update={"details": {"import": {"left_out": {"damaged": 7}}}})
    return write(tmp_path_factory.mktemp("gappy") / "set", data.slices, masks, table, info).folder


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in of_tables()]
)
@pytest.mark.timeout(300)
def test_every_figure_says_of_how_many_rows(name: str, forks: Forks, world: World, gappy: Path) -> None:
    world.inputs = {**world.inputs, "data": gappy}
    out = world.out.with_suffix(OUTPUTS.get(name, ""))
    # A lesion is on one of the sides already: nothing needs to be found for that.
    sides = ("malignant", "benign") if name == "counterfactual" else ()
    outputs = []
    for more in [["--towards", side] for side in sides] or [[]]:
        arguments = [*world.words(name, out=out), *more]
        done = forks.run(arguments, cwd=world.out.parent, env=world.environment, seconds=240)
        assert done.code in ((0, 2) if sides else (0, 1) if name == "leaks" else (0,)), done.text
        outputs.append(" ".join(done.out.split()))
    assert any(SENTENCE.search(text) for text in outputs), outputs
