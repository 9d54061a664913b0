"""Options that commands share: settings from NAME=VALUE, and choices that exclude each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungvae_core.cli.options import open_set, option, seen_choice, settings_of
from lungvae_core.errors import UserError
from lungvae_core.training.search.options import SearchOptions


def test_values_are_json_or_else_text() -> None:
    pairs = ["beta=0.3", "hidden=[8, 4]", "flips=false", "guided=edge,texture", "note=a=b", " name =x"]
    assert settings_of(pairs) == {
        "beta": 0.3,
        "hidden": [8, 4],
        "flips": False,
        "guided": "edge,texture",
        "note": "a=b",
        "name": "x",
    }
    assert settings_of(None) == {}
    with pytest.raises(UserError, match="'beta' has no equals sign"):
        settings_of(["beta"])


def test_seen_slices_are_refused_unless_one_choice_is_made() -> None:
    assert [seen_choice(*both) for both in ((False, False), (True, False), (False, True))] == [
        "refuse",
        "leave_out",
        "include",
    ]
    with pytest.raises(UserError, match="exclude each other"):
        seen_choice(True, True)


def test_an_options_help_is_the_settings_description() -> None:
    made = option(SearchOptions, "trials", "More.", says_default=True)
    description = SearchOptions.model_fields["trials"].description
    assert made.help == f"{description} More. Default: 30."


def test_a_set_that_is_not_there_is_reported(tiny_data: Path, tmp_path: Path) -> None:
    assert len(open_set(tiny_data)) == 120
    with pytest.raises(UserError):
        open_set(tmp_path / "nothing")
