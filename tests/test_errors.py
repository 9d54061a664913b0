"""The exception for users is shown as its sentence; every refusal of the core is one."""

from __future__ import annotations

import pytest

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json
from lungvae_core.parameters import ParameterError


def test_it_is_an_ordinary_exception_whose_text_is_the_sentence():
    assert str(UserError("It is wrong.")) == "It is wrong."
    # `except ValueError` or `except OSError` around a library's call must not swallow it.
    assert not issubclass(UserError, ValueError | OSError | RuntimeError)


def test_narrower_refusals_are_caught_as_it():
    assert issubclass(ParameterError, UserError)
    with pytest.raises(UserError):
        parse_json("{", what="A setting")
