"""The folders in use: named by the environment, or where the app was started."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungvae_core.app_files import SHIPPED_MODELS
from lungvae_core.serving.workspace.settings import Settings

NAMES = ("models", "runs", "data", "workspace")


@pytest.fixture(autouse=True)
def started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(f"LUNGVAE_{name.upper()}", raising=False)


def test_by_default_models_are_the_projects_and_all_else_is_where_the_app_was_started(tmp_path):
    assert Settings() == Settings(
        models=SHIPPED_MODELS,
        runs=tmp_path / "runs",
        data=tmp_path / "data",
        workspace=tmp_path / "workspace",
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_moves_its_folder_alone_and_an_empty_one_none(name, monkeypatch):
    before = Settings()
    monkeypatch.setenv(f"LUNGVAE_{name.upper()}", "")
    assert Settings() == before
    monkeypatch.setenv(f"LUNGVAE_{name.upper()}", "/elsewhere")
    after = Settings()
    assert getattr(after, name) == Path("/elsewhere")
    assert [other for other in NAMES if getattr(after, other) != getattr(before, other)] == [name]


def test_data_sets_are_listed_by_name_and_none_where_there_is_no_folder(tmp_path):
    assert Settings().data_sets() == []
    for folder in ("b", "a", "half"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for folder in ("b", "a"):
        (tmp_path / "data" / folder / "dataset.json").touch()
    assert [path.parent.name for path in Settings().data_sets()] == ["a", "b"]
