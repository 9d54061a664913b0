"""Every way in by every kind of input, as docs/formats.md has it: the right HU, or one sentence."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import lungvae_core.cli as cli
from lungvae_core.data.crops import box_of, cut
from lungvae_core.data.importing import import_arrays, import_manifest
from lungvae_core.data.lidc_place import untouched
from lungvae_core.data.volumes.dicom import read_ct
from lungvae_core.data.volumes.scale import check_range, why_not_hu
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.models.registry import Registry
from pages.predict import upload
from tests.conftest import ROOT
from tests.made_volumes import PATCH, Given, kinds, npy, picture, slice_file

GIVEN = kinds()
HEADING = "### What each entry point does with each kind of input"


class Seen(Exception):
    """Stands for a model: the slice that would have reached it."""


class Model:
    classifier = None

    def predict(self, patch: np.ndarray, **_: Any) -> None:
        raise Seen(patch)

    def seen(self, patch: np.ndarray, _spacing: float | None) -> None:
        raise Seen(patch)


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The doors, and for each kind what each of them does."""
    text = (ROOT / "docs" / "formats.md").read_text().split(HEADING)[1].split("\n#")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip().strip("`") for cell in line] for line in lines]
    return rows[0][1:], {row[0]: row[1:] for row in rows[2:]}


DOORS, EXPECTED = table()


def put(given: Given, folder: Path) -> Path:
    for name, content in given.files:
        (folder / name).write_bytes(content)
    return folder / given.files[0][0]


def by_slices(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    assert given.array is not None
    (folder / "s.npy").write_bytes(npy(given.array[None]))
    (folder / "t.csv").write_text("patient_id,nodule\nP1,0\n")
    hu_range = None if given.hu_range is None else check_range(*given.hu_range)
    return import_arrays(folder / "s.npy", folder / "t.csv", folder / "out", hu_range=hu_range).slices[0]


def by_manifest(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    low, high = given.hu_range or (None, None)
    row, column = given.centre or (None, None)
    cells = [put(given, folder).name, "P1", 0, row, column, given.index, low, high, given.spacing]
    line = ",".join("" if cell is None else str(cell) for cell in cells)
    names = "file,patient_id,nodule,row,column,index,hu_low,hu_high,pixel_spacing_mm"
    (folder / "m.csv").write_text(f"{names}\n{line}\n")
    return import_manifest(folder / "m.csv", folder / "out").slices[0]


def by_command(words: list[str]) -> np.ndarray:
    done = CliRunner().invoke(cli.app, words)
    if isinstance(done.exception, Seen):
        return done.exception.args[0]
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 2, (done.output, done.exception)  # typer's own: an option that is no number
    raise UserError(done.output)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "load", lambda *_: Model())
    monkeypatch.setattr(cases, "patient_of_upload", lambda *_: None)


def by_predict(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    stand_in(monkeypatch)
    words = ["predict", "model", str(put(given, folder))]
    words += [] if given.index is None else ["--index", str(given.index)]
    words += [] if given.centre is None else ["--row", str(given.centre[0]), "--column", str(given.centre[1])]
    for option, value in zip(("--hu-low", "--hu-high"), given.hu_range or (), strict=False):
        words += [] if value is None else [option, str(value)]
    words += [] if given.spacing is None else ["--spacing", str(given.spacing)]
    return by_command(words)


def by_counterfactual(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    stand_in(monkeypatch)
    words = ["counterfactual", "model", "--image", str(put(given, folder))]
    words += [] if given.index is None else ["--index", str(given.index)]
    words += [] if given.centre is None else ["--centre", *map(str, given.centre)]
    words += [] if given.hu_range is None else ["--hu", *map(str, given.hu_range)]
    words += [] if given.spacing is None else ["--spacing", str(given.spacing)]
    return by_command(words)


def by_upload(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    series = upload.read(given.files, given.hu_range)
    row, column = given.centre or (None, None)
    return cut(series.hu, box_of(series, index=given.index, row=row, column=column, where="it"), beyond=-1000)


def by_prepare(given: Given, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What `prepare` does with one slice of a series (tests/data/test_prepare.py runs the whole)."""
    hu, meta = read_ct(put(given, folder))
    if reason := why_not_hu(hu):
        raise UserError(f"It holds {reason}")
    stored = untouched(hu, meta, "it")
    row, column = 52, 40  # of the untouched image, as in pylidc
    return stored[row - 32 : row + 32, column - 32 : column + 32]


WAYS: dict[str, Callable[[Given, Path, pytest.MonkeyPatch], np.ndarray]] = {
    "import --slices": by_slices,
    "import --manifest": by_manifest,
    "predict": by_predict,
    "counterfactual --image": by_counterfactual,
    "Predict page": by_upload,
    "prepare": by_prepare,
}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("door", DOORS)
def test_a_door_does_what_the_table_says(
    door: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = EXPECTED[kind][DOORS.index(door)]
    if expected == "-":
        pytest.skip("this door takes no such input")
    if expected == "sentence":
        with pytest.raises(UserError) as refusal:
            WAYS[door](GIVEN[kind], tmp_path, monkeypatch)
        print(f"{door} x {kind}: {refusal.value}")
        return
    patch = WAYS[door](GIVEN[kind], tmp_path, monkeypatch)
    print(f"{door} x {kind}: HU {patch.min()} to {patch.max()}")
    assert expected == "HU"
    # A tenth of a degree per level where 8 bits hold HU; to the unit everywhere else.
    step = 6 if "8-bit" in kind or "png" in kind else 45 if "oblique" in kind else 1
    truth = np.clip(PATCH, -1000, 400) if GIVEN[kind].hu_range else PATCH
    np.testing.assert_allclose(patch, truth, atol=step)


def test_an_upload_needs_a_range_for_grey_levels_alone() -> None:
    files = [("a.dcm", slice_file()), ("a_mask.png", picture(np.full((96, 96), 255, np.uint8), "PNG"))]
    assert upload.ask_range([name for name, _ in files]) is None
    assert upload.read(files, (None, None)).masks
    with pytest.raises(UserError, match="both its ends"):
        upload.read(files, (-1000.0, None))


def test_the_table_has_every_door_and_every_kind() -> None:
    assert list(EXPECTED) == list(GIVEN)
    assert list(WAYS) == DOORS
    assert {cell for cells in EXPECTED.values() for cell in cells} == {"HU", "sentence", "-"}


def test_no_door_for_images_is_missing_from_the_table() -> None:
    """Commands by their parameters' help, pages by what they call: whatever reads pixels is a door."""
    for module in (one for one in pkgutil.iter_modules(cli.__path__) if one.name != "__main__"):
        importlib.import_module(f"lungvae_core.cli.{module.name}")
    doors = set()
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            if re.search(r"\b(npy, \(N|npy,|png|DICOM|image files)", getattr(parameter, "help", None) or ""):
                doors.add((name, parameter.name))
    assert doors == {
        ("import", "slices"),
        ("import", "masks"),  # of --slices
        ("import", "manifest"),
        ("predict", "image"),
        ("counterfactual", "image"),
        ("prepare", "folder"),
    }
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("pages", "lungvae_core")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\b(read_series|read_path|read_ct|read_volume)\(", path.read_text())
    }
    assert readers == {
        "pages/predict/upload.py",
        "lungvae_core/cli/models.py",  # predict
        "lungvae_core/cli/directions.py",  # counterfactual
        "lungvae_core/evaluation/leaks.py",  # leaks --images, which compares what the room makes of them
        "lungvae_core/data/prepare.py",
        "lungvae_core/data/series.py",
        "lungvae_core/data/masks.py",
        "lungvae_core/data/volumes/dicom.py",
        "lungvae_core/data/volumes/assembly.py",
        "lungvae_core/data/volumes/formats.py",
    }
