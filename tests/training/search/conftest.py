"""What tests of searches share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungvae_core.training.search.setup import SearchConfig, make
from lungvae_core.training.search.spaces import space

TINY = {"width": 4, "dimensions": 4, "batch_size": 32, "epochs": 1}


@pytest.fixture
def config(tiny_data: Path) -> Callable[..., SearchConfig]:
    """config(...): a tiny search of the space gvae."""

    def made(fixed: dict | None = None, **options: object) -> SearchConfig:
        options = {"trials": 2, **options}
        return make(space("gvae"), tiny_data, fixed={**TINY, **(fixed or {})}, **options)

    return made
