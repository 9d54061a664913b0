"""Where the app and the command line look for models, runs and data, set by environment variables.

LUNGVAE_MODELS, LUNGVAE_RUNS, LUNGVAE_DATA and LUNGVAE_WORKSPACE each name a folder. By default models are
the project's own, and runs, data and workspace lie in the folder that the app was started in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from lungvae_core.app_files import SHIPPED_MODELS
from lungvae_core.files import offered


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


@dataclass(frozen=True)
class Settings:
    """The folders in use."""

    models: Path = field(default_factory=lambda: _folder("LUNGVAE_MODELS", SHIPPED_MODELS))
    runs: Path = field(default_factory=lambda: _folder("LUNGVAE_RUNS", Path.cwd() / "runs"))
    data: Path = field(default_factory=lambda: _folder("LUNGVAE_DATA", Path.cwd() / "data"))
    workspace: Path = field(default_factory=lambda: _folder("LUNGVAE_WORKSPACE", Path.cwd() / "workspace"))

    def data_sets(self) -> list[Path]:
        """The dataset.json of every data set in the data folder, by name."""
        return offered(self.data, "*/dataset.json")
