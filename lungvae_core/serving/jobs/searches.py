"""The searches that the app can show, read from their folders while they run and afterwards."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.csv_files import read_back
from lungvae_core.errors import UserError
from lungvae_core.evaluation.searched import read_final
from lungvae_core.files import modified, offered, read_bytes
from lungvae_core.schema import Count, Number, Part, read_as
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.search.book import COMPLETE, TABLE
from lungvae_core.training.search.setup import OBJECTIVES, SearchConfig, open_search, winner
from lungvae_core.training.search.spaces import settings as settings_of


class _Progress(Part):
    """progress.json."""

    done: Count
    trials: Count
    running: Count
    epochs_done: Count
    epochs_expected: Count
    seconds_left: Number | None


@dataclass(frozen=True)
class SearchState:
    """A search, running or ended."""

    folder: Path
    config: SearchConfig
    table: pd.DataFrame  # a row per trial that has a value or has ended; see docs/search.md
    progress: dict[str, Any]  # progress.json; empty before it exists
    final: dict[str, Any] | None  # final.json

    @property
    def objective(self) -> str:
        """The objective in words, with its direction."""
        higher, description = OBJECTIVES[self.config.objective]
        return f"{description}; {'higher' if higher else 'lower'} is better"

    @property
    def searched(self) -> list[str]:
        """The searched settings, those most associated with the value first."""
        strength = {name: self.association(name) for name in self.config.parameters}
        return sorted(strength, key=lambda name: -strength[name])

    @property
    def complete(self) -> pd.DataFrame:
        """The trials that were trained to the end, best first."""
        done = self.table[self.table["state"] == COMPLETE]
        return done.sort_values("value", ascending=not self.config.maximise)

    def best_so_far(self) -> pd.DataFrame:
        """Columns number, value, best: complete trials by number, with the best so far."""
        done = self.complete.sort_values("number")[["number", "value"]]
        values = done["value"].astype(float)
        return done.assign(best=values.cummax() if self.config.maximise else values.cummin())

    def association(self, name: str) -> float:
        """How strongly the value follows a setting, 0..1, over the complete trials; 0 if undefined.

        For numbers |Spearman's rank correlation|, for words the correlation ratio of the ranks. Over few
        trials an association is mostly chance, and it never proves that the setting causes anything.
        """
        done = self.complete
        if len(done) < 3 or name not in done or done[name].nunique() < 2 or done["value"].nunique() < 2:
            return 0.0
        ranks = done["value"].rank()
        if pd.api.types.is_numeric_dtype(done[name]) and not pd.api.types.is_bool_dtype(done[name]):
            return float(abs(np.corrcoef(done[name].rank(), ranks)[0, 1]))
        means = ranks.groupby(done[name].astype(str)).transform("mean")
        return float(np.sqrt(means.var(ddof=0) / ranks.var(ddof=0)))

    def command(self) -> list[str]:
        """The command and its arguments to train with the best trial's settings; empty without one."""
        if not len(self.complete):
            return []
        row = self.complete.iloc[0]
        drawn = {name: _plain(row[name]) for name in self.config.parameters}
        settings = settings_of(self.config.of, drawn, self.config.fixed)
        return winner(self.config, settings, self.folder.name)


def find_searches(settings: Settings | None = None) -> list[Path]:
    """The folders of the searches below the runs folder, newest first."""
    settings = settings or Settings()
    files = [path for path in offered(settings.runs, "*/search.json") if path.is_file()]
    return [path.parent for path in sorted(files, key=modified, reverse=True)]


def read_search(folder: str | Path) -> SearchState | None:
    """The search in `folder`; None before it has written its settings. UserError when it is damaged."""
    folder = Path(folder)
    if not (folder / "search.json").is_file():
        return None
    config = open_search(folder)
    table = pd.DataFrame(columns=["number", "state", "value", *config.parameters])
    if (folder / TABLE).is_file():
        try:
            # A choice may be "none".
            content = read_bytes(folder / TABLE, what="The search's trials")
            table = read_back(pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""]))
        except (ValueError, OSError) as error:
            raise UserError(f"The search {folder} is damaged: {TABLE} cannot be read.") from error
        if not {"number", "state", "value", *config.parameters} <= set(table.columns):
            raise UserError(f"The search {folder} is damaged: {TABLE} lacks columns.")
        if len(table) and not all(pd.api.types.is_numeric_dtype(table[name]) for name in ("number", "value")):
            raise UserError(f"The search {folder} is damaged: {TABLE} has values that are no numbers.")
    progress: dict[str, Any] = {}
    with contextlib.suppress(UserError):
        progress = read_as(folder / "progress.json", _Progress, what="", again="lungvae search")
    return SearchState(folder, config, table, progress, read_final(folder))


def _plain(value: Any) -> Any:
    """A numpy number as a Python number."""
    return value.item() if isinstance(value, np.generic) else value
