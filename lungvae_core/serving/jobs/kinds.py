"""What each kind of job was asked for, typed: the only thing that its command is made of.

The database keeps these values as JSON. They are checked when they are read, each option of a command is one
word that begins with the option's name, and paths go through `places`: a database that somebody else made can
start nothing but the product's own commands on the server's own folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lungvae_core.parameters import text

_Open = Callable[[str], Path]  # `places.opened` with the settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Device = Annotated[str, Field(pattern=r"^[a-z]{1,16}(:[0-9]{1,3})?$")]
StoredPath = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Few = Annotated[int, Field(ge=0, le=4096)]  # of threads and workers
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Scalar = str | int | float | bool | None


class Request(BaseModel):
    """What is common to all kinds; keys that another version wrote are passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    paths: ClassVar[tuple[str, ...]] = ()  # the fields that are stored paths

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        """What follows `lungvae`, to write `out`; with `again` to go on with it. UserError for a bad path."""
        raise NotImplementedError

    def uses(self, open_path: _Open) -> list[Path]:
        """The files and folders that the job reads; UserError for a path that may not be opened."""
        values = [getattr(self, name) for name in self.paths]
        return [open_path(value) for value in values if value is not None]


class Training(Request):
    """Of `Jobs.start_training`."""

    paths = ("data",)

    data: StoredPath
    preset: Name
    changes: dict[Name, Any]
    device: Device
    threads: Few = 0
    title: Annotated[str, Field(max_length=1000)] = ""
    finish: bool = True
    on_nonfinite: Literal["stop", "halve"] | None = None  # in its place once it was resumed so

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["train", f"--data={open_path(self.data)}", f"--out={out}", f"--preset={self.preset}"]
        argv += [f"--device={self.device}", f"--threads={self.threads}"]
        if not self.finish:
            argv.append("--no-finish")
        if again and (out / "config.json").exists():  # else it was stopped before its run existed
            argv.append("--resume")
        else:
            argv += _settings(self.changes)
            if self.title:
                argv.append(f"--title={text('The title', self.title)}")
        if self.on_nonfinite is not None:
            argv.append(f"--set=on_nonfinite={json.dumps(self.on_nonfinite)}")
        return argv


class Phantom(Request):
    """Of `Jobs.start_phantom`."""

    count: Count
    seed: Seed = 0
    workers: Few = 1

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["phantom", f"--out={out}", "--factors=independent"]
        return [*argv, f"--count={self.count}", f"--seed={self.seed}", f"--workers={self.workers}"]


class Search(Request):
    """Of `Jobs.start_search`."""

    source: Annotated[str, Field(pattern=r"^--(data|run)=.")]
    space: Name
    fixed: dict[Name, Any] = {}
    options: dict[
        Literal["trials", "method", "halving", "objective", "folds", "test_fraction", "seed"], Scalar
    ] = {}
    device: Device
    threads: Few = 1
    workers: Few = 1

    def uses(self, open_path: _Open) -> list[Path]:
        return [open_path(self.source.partition("=")[2])]

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["search", f"--out={out}", f"--device={self.device}"]
        argv += [f"--workers={self.workers}", f"--threads={self.threads}"]
        if again and (out / "search.json").exists():
            return [*argv, "--resume"]
        argv += [f"{self.source.partition('=')[0]}={self.uses(open_path)[0]}", f"--space={self.space}"]
        return argv + _options(self.options.items()) + _settings(self.fixed)


class Evaluation(Request):
    """Of `Jobs.start_evaluation`."""

    paths = ("data", "nested", "diagnoses")

    data: StoredPath
    preset: Name
    task: Name
    label_rule: Name
    protocol: Name
    seed: Seed = 0
    seeds: Count = 1
    quick: bool = False
    nested: StoredPath | None = None
    diagnoses: StoredPath | None = None
    device: Device
    workers: Few = 1

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["evaluate", f"--preset={self.preset}", f"--data={open_path(self.data)}"]
        names = ("task", "label_rule", "protocol", "seed", "seeds", "device", "workers", "quick")
        argv += _options((name, getattr(self, name)) for name in names)
        for name in ("nested", "diagnoses"):
            if path := getattr(self, name):
                argv.append(f"--{name}={open_path(path)}")
        return [*argv, f"--out={out / 'report.json'}"]


class Preparation(Request):
    """Of `Jobs.start_preparation`."""

    paths = ("folder",)

    folder: StoredPath
    workers: Few = 1

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        return ["prepare", f"--out={out}", f"--workers={self.workers}", "--", str(open_path(self.folder))]


class Map(Request):
    """Of `Jobs.start_map`."""

    paths = ("run",)

    unit: Literal["slice", "nodule"]
    method: Name
    dims: Literal[2, 3]
    run: StoredPath
    parameters: dict[Name, Scalar] = {}

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["project", f"--unit={self.unit}", f"--method={self.method}", f"--dims={self.dims}"]
        argv += [f"--out={out}", *_settings(self.parameters)]
        return [*argv, "--", str(open_path(self.run))]


def _options(values: Iterable[tuple[str, Scalar]]) -> list[str]:
    """`--name=value` of each, of a switch its name alone where it is on."""
    argv = []
    for name, value in values:
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            argv += [option] if value else []
        else:
            argv.append(f"{option}={value}")
    return argv


def _settings(values: dict[str, Any]) -> list[str]:
    """`--set=name=value` of each, in one word, so that no value can pass for an option."""
    return [f"--set={name}={json.dumps(value)}" for name, value in values.items()]
