"""Discs whose labels their size decides, and discs with labels drawn by patient, which nothing can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.evaluation.protocols.plan import EvaluationConfig
from tests.conftest import blobs

TINY = {
    "width": 4,
    "dimensions": 8,
    "batch_size": 32,
    "epochs": 1,
    "round_epochs": 2,
    "spacing_mm": 0,
    "ratings_weight": 0,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(folder: Path, *, random: bool, count: int = 300) -> SliceSet:
    slices, masks, table = blobs(count)
    if random:
        patients = table["patient_id"].unique()
        # Each patient has a look of their own, by which their label can be learned by heart.
        looks = np.random.default_rng(3).normal(0, 150, (len(patients), 8, 8)).repeat(8, 1).repeat(8, 2)
        slices = slices + looks[pd.factorize(table["patient_id"])[0]].round().astype(np.int16)
        drawn = dict(zip(patients, np.random.default_rng(7).permutation(len(patients)) % 2, strict=True))
        ratings = table["patient_id"].map(drawn).to_numpy() * 2 + 2
        table["malignancy"] = pd.array(ratings, dtype="Int64")
        table["malignancy_all"] = [f"{rating}|{rating}" for rating in ratings]
    info = DatasetInfo(name="discs", source="tests", rule="discs in noise", generated=True)
    return write(folder, slices, masks, table, info)


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make(tmp_path_factory.mktemp("discs") / "data", random=False)


@pytest.fixture(scope="session")
def chance(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make(tmp_path_factory.mktemp("chance") / "data", random=True)


@pytest.fixture
def make_config() -> Callable[..., EvaluationConfig]:
    def of(
        protocol: str = "nested", *, preset: str = "gvae", changes: dict | None = None, **more: object
    ) -> EvaluationConfig:
        settings = {**TINY, **(changes or {})}
        if protocol == "frozen":
            settings.pop("round_epochs")
        return EvaluationConfig.model_validate(
            {"preset": preset, "protocol": protocol, "folds": 3, "quick": True, "changes": settings, **more}
        )

    return of
