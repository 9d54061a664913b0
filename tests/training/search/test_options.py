"""Options of a search: their bounds, and that a command line can describe each of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lungvae_core.training.search.options import SearchOptions


@pytest.mark.parametrize(
    "change",
    [
        {"method": "grid"},
        {"trials": 0},
        {"folds": 6},
        {"test_fraction": 0.0},
        {"test_fraction": 0.6},
        {"min_epochs": -1},
        {"seed": 2**31},
    ],
)
def test_options_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        SearchOptions(**change)


def test_every_option_has_a_title_and_a_description() -> None:
    for name, field in SearchOptions.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith("."), name


def test_it_is_light_to_import() -> None:
    code = (
        "import sys, lungvae_core.training.search.options; "
        "print('torch' in sys.modules, 'optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
