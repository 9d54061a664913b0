"""Options of commands, in the words that the configuration has for its settings."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import BaseModel


def option(
    kind: type[BaseModel], name: str, *more: str, says_default: bool = False, names: str | None = None
) -> Any:
    """A setting's option, its help the setting's description with `more` sentences after it.

    With `says_default` the configuration's own default is among them: for an option that is None where it was
    left out. `names` are the option's spellings where they are not of the parameter's name.
    """
    field = kind.model_fields[name]
    sentences = [field.description or "", *more, *([f"Default: {field.default}."] if says_default else [])]
    return typer.Option(*([names] if names else []), help=" ".join(sentences))
