"""The kinds of jobs: a typed request for each, and the command built from that request alone.

The database stores requests as JSON and they are checked when they are read. Each option of a command is one
word that begins with the option's name, and paths go through `places`. So a database from somebody else can
only start the product's commands on the server's folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from lungvae_core.errors import UserError
from lungvae_core.parameters import text
from lungvae_core.serving.workspace import places
from lungvae_core.serving.workspace.settings import Settings

_Open = Callable[[str], Path]  # `places.opened` with the settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Device = Annotated[str, Field(pattern=r"^[a-z]{1,16}(:[0-9]{1,3})?$")]
StoredPath = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Few = Annotated[int, Field(ge=0, le=4096)]  # of threads and workers
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Scalar = str | int | float | bool | None


class Request(BaseModel):
    """The base of all kinds; keys that another version wrote are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    kind: ClassVar[str]
    makes: ClassVar[str] = "run"
    place: ClassVar[tuple[str, str]] = ("runs", "{}")  # of its output: one of `places.roots`, the path below
    paths: ClassVar[tuple[str, ...]] = ()  # the fields that are stored paths
    lane: ClassVar[str] = "data"  # jobs of one lane run one at a time

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        """The arguments of `lungvae` that write `out` or, `again`, continue it; UserError for a bad path."""
        raise NotImplementedError

    def uses(self, open_path: _Open) -> list[Path]:
        """The files and folders that the job reads; UserError for a path that may not be opened."""
        values = [getattr(self, name) for name in self.paths]
        return [open_path(value) for value in values if value is not None]

    def _flags(self, *fields: str) -> list[str]:
        """Fields as the command's options of the same names."""
        return _options({name: getattr(self, name) for name in fields})


class OnDevice(Request):
    """A job that computes on a device, which runs one job at a time."""

    device: Device

    @property
    def lane(self) -> str:  # type: ignore[override]
        """The device's name."""
        return self.device


class Training(OnDevice):
    """A model, trained and made ready for the app."""

    kind = "training"
    paths = ("data",)

    data: StoredPath
    preset: Name
    changes: dict[Name, Any]
    threads: Few = 0
    title: Annotated[str, Field(max_length=1000)] = ""
    finish: bool = True
    on_nonfinite: Literal["stop", "halve"] | None = None  # replaces the setting if resumed with it

    @classmethod
    def of(
        cls,
        settings: Settings,
        data: str | Path,
        preset: str,
        changes: dict[str, Any],
        *,
        device: str = "auto",
        threads: int = 0,
        title: str = "",
        finish: bool = True,
    ) -> Self:
        """A training of `preset` with settings changed by name, on a data set.

        With `finish` the slices are then encoded, classified and mapped, as the app needs them. UserError
        for whatever `lungvae train` would refuse: a bad preset, setting, data set or device, and joint rounds
        on data without labels of both classes.
        """
        # These import torch; a keeper also imports this module and does not need it.
        from lungvae_core.data.slices import SliceSet
        from lungvae_core.training.checkpoints import default_split
        from lungvae_core.training.device import pick_device
        from lungvae_core.training.guided import guides
        from lungvae_core.training.joint import labels_for
        from lungvae_core.vae.config import override
        from lungvae_core.vae.config import preset as preset_named

        config = override(preset_named(preset), changes)
        device = str(pick_device(device))
        if threads < 0:
            raise UserError(f"{threads} threads cannot be used; choose 0 (all) or more.")
        stored = places.stored(settings, data)
        opened = SliceSet.open(data, verify=False)
        if opened.table["patient_id"].nunique() < 2:
            raise UserError(f"{data} has a single patient; some must be held out, so two are the least.")
        train = default_split(config, opened.table)[0]
        if config.joint.rounds:
            labels_for(config, opened.table, train)
        if config.objective.guided:
            guides(config, opened.slices, opened.masks, opened.table, train)
        return cls(
            data=stored,
            preset=preset,
            changes=changes,
            device=device,
            threads=threads,
            title=title,
            finish=finish,
        )

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["train", f"--data={open_path(self.data)}", f"--out={out}"]
        argv += self._flags("preset", "device", "threads")
        if not self.finish:
            argv.append("--no-finish")
        if again and (out / "config.json").exists():  # otherwise it was stopped before its run existed
            argv.append("--resume")
        else:
            argv += _settings(self.changes)
            if self.title:
                argv.append(f"--title={text('The title', self.title)}")
        if self.on_nonfinite is not None:
            argv.append(f"--set=on_nonfinite={json.dumps(self.on_nonfinite)}")
        return argv


class Phantom(Request):
    """Generated slices as a data set."""

    kind = "phantom"
    makes = "data set"
    place = ("data", "{}")

    count: Count
    seed: Seed = 0
    workers: Few = 1

    @classmethod
    def of(cls, settings: Settings, count: int, *, seed: int = 0, workers: int = 1) -> Self:
        """`count` phantom slices with independent factors, as a data set."""
        if count < 1:
            raise UserError(f"{count} slices cannot be made; choose 1 or more.")
        return cls(count=count, seed=seed, workers=workers)

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        return ["phantom", f"--out={out}", "--factors=independent", *self._flags("count", "seed", "workers")]


class Search(OnDevice):
    """A search of settings."""

    kind = "search"

    source: Annotated[str, Field(pattern=r"^--(data|run)=.")]
    space: Name
    fixed: dict[Name, Any] = {}
    options: dict[
        Literal["trials", "method", "halving", "objective", "folds", "test_fraction", "seed"], Scalar
    ] = {}
    threads: Few = 1
    workers: Few = 1

    @classmethod
    def of(
        cls,
        settings: Settings,
        data: str | Path,
        space: str,
        *,
        fixed: dict[str, Any] | None = None,
        device: str = "auto",
        workers: int = 1,
        threads: int = 1,
        **options: Any,
    ) -> Self:
        """A search of `space` on a data set (or, for an MLP's space, on a run).

        `fixed` are settings by name; `options` are trials, method, halving, objective, folds,
        test_fraction and seed of `training.search.setup.SearchConfig`. UserError for whatever
        `lungvae search` would refuse.
        """
        from lungvae_core.training.device import pick_device
        from lungvae_core.training.search.run import check_source
        from lungvae_core.training.search.setup import make
        from lungvae_core.training.search.spaces import space as space_named

        base = space_named(space)
        stored = places.stored(settings, data)
        config = make(base, data, fixed=fixed, **options)
        check_source(config)
        device = str(pick_device(device))
        if workers < 1 or threads < 1:
            raise UserError(
                f"{workers} workers of {threads} threads cannot be used; choose 1 or more of each."
            )
        source = f"--{'run' if base.of_codes else 'data'}={stored}"
        request = {"source": source, "space": space, "fixed": fixed or {}, "options": options}
        return cls.model_validate(request | {"device": device, "threads": threads, "workers": workers})

    def uses(self, open_path: _Open) -> list[Path]:
        return [open_path(self.source.partition("=")[2])]

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["search", f"--out={out}", *self._flags("device", "workers", "threads")]
        if again and (out / "search.json").exists():
            return [*argv, "--resume"]
        argv += [f"{self.source.partition('=')[0]}={self.uses(open_path)[0]}", f"--space={self.space}"]
        return argv + _options(self.options) + _settings(self.fixed)


class Evaluation(OnDevice):
    """A report of how good a preset is."""

    kind = "evaluation"
    makes = "evaluation"
    place = ("workspace", "evaluations/{}")
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
    workers: Few = 1

    @classmethod
    def of(
        cls,
        settings: Settings,
        data: str | Path,
        preset: str,
        *,
        nested: str | Path | None = None,
        diagnoses: str | Path | None = None,
        device: str = "auto",
        workers: int = 1,
        **options: Any,
    ) -> Self:
        """An evaluation of `preset` on a data set; its report will be the `default_report` of its name.

        `options` are task, label_rule, protocol, seed, seeds and quick of `EvaluationConfig`; `nested` is the
        report that the leak table of the protocol `paper` begins with, `diagnoses` a table of confirmed
        diagnoses below the server's sources. UserError for whatever `lungvae evaluate` would refuse: a bad
        preset, task, rule, protocol, data set or device, and data without both classes or with too few
        patients.
        """
        from lungvae_core.data.labels import labels
        from lungvae_core.data.slices import SliceSet
        from lungvae_core.evaluation.diagnosis import read_confirmed
        from lungvae_core.evaluation.protocols.config import evaluation_of
        from lungvae_core.evaluation.protocols.plan import configure, plan_folds
        from lungvae_core.serving.jobs.evaluations import read_report
        from lungvae_core.training.device import pick_device

        stored = places.stored(settings, data)
        config = evaluation_of(preset=preset, **options)
        configure(config, config.seed)
        if workers < 1:
            raise UserError(f"{workers} trainings at once cannot be; choose 1 or more.")
        beside = None if nested is None else places.stored(settings, nested)
        if nested is not None:
            read_report(nested)
        confirmed = None if diagnoses is None else places.source_file(settings, diagnoses)
        device = str(pick_device(device))
        table = SliceSet.open(data, verify=False).table
        truth = labels(table, config.task, config.label_rule)
        if not ((truth == 1).any() and (truth == 0).any()):
            raise UserError(
                f"{data} lacks lesions of both classes under the label rule {config.label_rule}, so there is "
                "nothing to evaluate."
            )
        plan_folds(table, config)
        if confirmed is not None:
            read_confirmed(confirmed, table, config.protocol)
        request = config.model_dump()  # the request keeps what it has a field for
        request |= {"data": stored, "nested": beside, "device": device, "workers": workers}
        request["diagnoses"] = None if confirmed is None else places.stored(settings, confirmed)
        return cls.model_validate(request)

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["evaluate", f"--preset={self.preset}", f"--data={open_path(self.data)}"]
        argv += self._flags("task", "label_rule", "protocol", "seed", "seeds", "device", "workers", "quick")
        for name in ("nested", "diagnoses"):
            if path := getattr(self, name):
                argv.append(f"--{name}={open_path(path)}")
        return [*argv, f"--out={out / 'report.json'}"]


class Preparation(Request):
    """A data set of LIDC-IDRI's DICOM."""

    kind = "preparation"
    makes = "data set"
    place = ("data", "{}")
    paths = ("folder",)

    folder: StoredPath
    workers: Few = 1

    @classmethod
    def of(cls, settings: Settings, folder: str | Path, *, workers: int = 1) -> Self:
        """A data set from a folder of LIDC-IDRI's DICOM on this machine."""
        if workers < 1:
            raise UserError(f"{workers} processes cannot be used; choose 1 or more.")
        return cls(folder=str(places.source(settings, folder)), workers=workers)

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        return ["prepare", f"--out={out}", f"--workers={self.workers}", "--", str(open_path(self.folder))]


class Map(Request):
    """A map with a person's own parameters."""

    kind = "map"
    makes = "map"
    place = ("workspace", "cache/maps/{}.npy")
    lane = "maps"
    paths = ("run",)

    unit: Literal["slice", "nodule"]
    method: Name
    dims: Literal[2, 3]
    run: StoredPath
    parameters: dict[Name, Scalar] = {}

    @classmethod
    def of(
        cls, settings: Settings, run: Path, unit: str, method: str, dims: int, parameters: dict[str, Any]
    ) -> Self:
        """A map of a run's codes with parameters of one's own; its name is its key (see `custom_maps`).

        UserError for parameters that `method` does not have.
        """
        from lungvae_core.explore.maps import check_parameters

        parameters = check_parameters(method, parameters)
        request = {"unit": unit, "method": method, "dims": dims, "parameters": parameters}
        return cls.model_validate(request | {"run": places.stored(settings, run)})

    def argv(self, out: Path, open_path: _Open, *, again: bool) -> list[str]:
        argv = ["project", *self._flags("unit", "method", "dims"), f"--out={out}"]
        return [*argv, *_settings(self.parameters), "--", str(open_path(self.run))]


def _options(values: Mapping[Any, Scalar]) -> list[str]:
    """`--name=value` for each; for a switch that is on, its name alone."""
    return [
        f"--{name.replace('_', '-')}{'' if value is True else f'={value}'}"
        for name, value in values.items()
        if value is not False
    ]


def _settings(values: dict[str, Any]) -> list[str]:
    """`--set=name=value` for each, as one word, so that no value can be read as an option."""
    return [f"--set={name}={json.dumps(value)}" for name, value in values.items()]


KINDS: dict[str, type[Request]] = {
    each.kind: each for each in (Training, Search, Evaluation, Preparation, Map, Phantom)
}
