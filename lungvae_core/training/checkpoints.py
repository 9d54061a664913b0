"""A run's folder and all files in it; no other module knows its layout.

config.json          the configuration, the data it was trained on, versions
metrics.jsonl        a line an epoch
progress.json        how far a running training is, renewed every few seconds
not-finite.json      the slices of the batch whose loss was not finite, where one was not
samples.png          held-out slices above their reconstructions (pixels: never shipped)
model.safetensors    the weights; of a published model without the rating networks', in reader.safetensors
start.safetensors    the weights that it begins with, where they are another run's; until the first checkpoint
last.safetensors     the newest checkpoint: weights, optimiser, random state, position in the data order
latents.parquet      a row a slice: table columns, split, code_000 ..., score
fingerprints.parquet  to recognise its slices under any id; no pixels
classifier.safetensors, folds.safetensors (each patient's own, which has not seen it), attention.safetensors
                     (over a nodule's slices), ensemble.safetensors (for the scores' bands), evaluation.json
map-slice.parquet, map-nodule.parquet
clusters.json, disentanglement.json, measured.json, directions.json: reports on the latent space

No pickle anywhere; every file is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import logging
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_float_dtype
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

import lungvae_core
from lungvae_core.data.columns import patient_key, without_own
from lungvae_core.data.declared import as_declared, wrong_key
from lungvae_core.data.parquet import read_parquet
from lungvae_core.data.slices import FACTOR, KEY, DatasetInfo, SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path, read_bytes, read_json, write_json, write_text
from lungvae_core.json_text import parse_json
from lungvae_core.parameters import LONGEST_NAME, text
from lungvae_core.schema import wrong_at
from lungvae_core.training.epochs import Epoch
from lungvae_core.training.weights_file import compact, load_network, load_tensors, save_tensors
from lungvae_core.vae.config import Config, parse
from lungvae_core.vae.model import VAE

logger = logging.getLogger(__name__)

FORMAT = 2  # since 2, a published model may have weights in 8 bits, and its rating networks apart
CODE = "code_"
ADDED = ("split", "ssim", "mse")  # to the table by `encode`
SCORED = ("score", "score_kind")  # and by `classify`
FINGERPRINTS = "fingerprints.parquet"
CHECKPOINT = "last.safetensors"
START = "start.safetensors"
FEATURES = "features.safetensors"  # of the feature loss; the training's own
READER = "reader.safetensors"  # of guides that are ratings; a published model's encoder has its weights there
_RATINGS = "encoder.reader."  # the names of these weights in a model
_PATH = ".path."  # in the names of the linear path's weights
# The files that serve a finished run; the others are for its training only.
SERVED = (
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "latents.parquet",
    "classifier.safetensors",
    "evaluation.json",
    "map-slice.parquet",
    "map-nodule.parquet",
)
# Served if present: runs with very few patients, and old ones, have none.
OPTIONAL = (
    "folds.safetensors",
    "attention.safetensors",
    "ensemble.safetensors",
    "hashes.json",
    FINGERPRINTS,
    READER,
)
# Reports on its latent space, made on request from the codes that ship, after the run is published.
KNOWN = ("clusters.json", "disentanglement.json", "measured.json", "directions.json")
# What a training writes, each first under a temporary name.
TRAINED = (
    "config.json",
    "metrics.jsonl",
    "progress.json",
    "samples.png",
    "model.safetensors",
    CHECKPOINT,
    "not-finite.json",
    "classifier.safetensors",
    START,
    FEATURES,
    READER,
)


class Start(BaseModel):
    """The model whose weights a run began with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(max_length=LONGEST_NAME)]
    epochs: int  # that it had been trained for, with those of its own start
    minutes: float  # likewise


class RunInfo(BaseModel):
    """config.json: what was trained, on what, with which versions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    title: Annotated[str, Field(max_length=LONGEST_NAME)]
    config: Config
    data: DatasetInfo
    data_folder: str = ""  # where the data was; empty in shipped models
    device: str = "cpu"
    processes: int = 1  # that trained it together
    # Patients of the data by what this run did with them; None in runs older than this field, which split
    # by `holdout` with their seed. Patients in neither list were set aside.
    trained: list[str] | None = None
    held_out: list[str] | None = None
    start: Start | None = None  # None: random weights or principal components
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Run:
    """A run's folder, opened; its weights and tables are read on demand."""

    folder: Path
    info: RunInfo

    @property
    def config(self) -> Config:
        return self.info.config

    @classmethod
    def create(
        cls,
        folder: Path,
        config: Config,
        data: SliceSet,
        *,
        device: str,
        title: str = "",
        processes: int = 1,
        split: tuple[np.ndarray, np.ndarray] | None = None,
        start: Start | None = None,
        weights: VAE | None = None,
    ) -> Run:
        """Start a run in `folder` by writing its config.json.

        `split` is (training rows, held-out rows) of the data; by default that of the configuration. `weights`
        are those of the model `start`, with which it begins.
        """
        rows = default_split(config, data.table) if split is None else split
        patients = data.table["patient_id"].astype(str)
        trained, held_out = (sorted(set(patients.iloc[part])) for part in rows)
        if not trained or not held_out or set(trained) & set(held_out):
            raise UserError(
                f"The split has {len(trained)} training and {len(held_out)} held-out patients, "
                f"{len(set(trained) & set(held_out))} of them the same; each side needs patients of its own."
            )
        info = RunInfo(
            title=text("The title", title or folder.name, LONGEST_NAME),
            config=config,
            data=data.info,
            data_folder=str(data.folder.resolve()),
            device=device,
            processes=processes,
            trained=trained,
            held_out=held_out,
            start=start,
            versions={
                "lungvae": lungvae_core.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        )
        if weights is not None:
            save_tensors(folder / START, weights.state_dict(), {})
        write_json(folder / "config.json", info.model_dump())
        return cls(folder, info)

    def as_start(self) -> Start:
        """What a run that begins with this one's weights remembers of it."""
        before, rows = self.info.start, self.metrics()
        return Start(
            title=self.info.title,
            epochs=len(rows) + (before.epochs if before else 0),
            minutes=rows[-1]["seconds"] / 60 + (before.minutes if before else 0),
        )

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run or a shipped model; UserError when it is missing, damaged or too new."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{folder} is not a model: it has no config.json. Name a run's or model's folder."
            )
        raw = read_json(folder / "config.json", what="The model's configuration")
        if not isinstance(raw, dict):
            raise UserError(f"The model {folder} is damaged: config.json is not an object.")
        if isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
            raise UserError(
                f"The model {folder} has format {raw['format']}; this version, {lungvae_core.__version__}, "
                f"reads up to {FORMAT}. Install lungvae {_made_by(raw)}."
            )
        config = parse(raw.get("config"))
        try:
            info = RunInfo.model_validate({**raw, "config": config})
        except ValidationError as error:
            raise UserError(
                f"The model {folder} is damaged: config.json lacks fields or has others."
            ) from error
        return cls(folder, info)

    def has(self, name: str) -> bool:
        """Whether the run has that file."""
        return (self.folder / name).is_file()

    def split(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """(training rows, held-out rows) of the run's own data; other rows were set aside."""
        if self.info.trained is None or self.info.held_out is None:
            return default_split(self.config, table)
        patients = table["patient_id"].map(patient_key)
        trained, held_out = (
            patients.isin(set(map(patient_key, side))) for side in (self.info.trained, self.info.held_out)
        )
        # Older runs may have two spellings of a patient, one on each side; the patient was trained on.
        return np.flatnonzero(trained), np.flatnonzero(held_out & ~trained)

    def save_model(self, vae: VAE) -> None:
        save_tensors(self.folder / "model.safetensors", vae.state_dict(), {})

    def load_start(self) -> VAE:
        """The VAE that the run begins with, on the CPU."""
        return load_network(self.folder / START, lambda _: VAE(self.config.model))

    def load_model(self) -> VAE:
        """The trained VAE on the CPU in evaluation mode; UserError when missing or damaged."""
        path, reader = self.folder / "model.safetensors", self.folder / READER
        return load_network(path, lambda _: VAE(self.config.model), apart=(_RATINGS, reader))

    def publish_model(self, vae: VAE) -> None:
        """Save the VAE for shipping, its weights rounded, and the rating networks in their own file.

        The linear path, which draws the finest detail, and the rating networks are in float16, other large
        matrices and kernels in 8 bits. Biases and normalization statistics, which are few, stay as they are.
        """
        weights = compact(vae.state_dict(), lambda name: _PATH in name or name.startswith(_RATINGS))
        ratings = {name: weights.pop(name) for name in list(weights) if name.startswith(_RATINGS)}
        save_tensors(self.folder / "model.safetensors", weights, {})
        if ratings:
            save_tensors(
                self.folder / READER,
                {name.removeprefix(_RATINGS): each for name, each in ratings.items()},
                {},
            )

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs' figures, oldest first; a last line cut short by a crash is left out.

        Raises UserError for a line that is JSON but no epoch's figures.
        """
        rows: list[dict[str, Any]] = []
        if not self.has("metrics.jsonl"):
            return rows
        path = self.folder / "metrics.jsonl"
        for line in read_bytes(path, what="The epochs' figures").splitlines():
            try:
                row = parse_json(line, what="An epoch's figures")
            except UserError:
                break
            if (place := wrong_at(row, Epoch)) is not None:
                raise UserError(f"{path} is damaged in line {len(rows) + 1}{place}. Train the model anew.")
            rows.append(row)
        return rows

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def write_latents(self, table: pd.DataFrame, codes: np.ndarray) -> None:
        """Save codes (N, K) beside `table` (N rows): as float16 if that is exact, else float32."""
        names = code_columns(codes.shape[1])
        with np.errstate(over="ignore"):
            half = codes.astype(np.float16)
        codes = half if np.array_equal(half, codes) else codes.astype(np.float32)
        joined = pd.concat([table.reset_index(drop=True), pd.DataFrame(codes, columns=names)], axis=1)
        self.write_table("latents.parquet", joined)

    def latents(self) -> tuple[pd.DataFrame, np.ndarray]:
        """(table with N rows, codes (N, K) float32) of the slices that the run has encoded.

        Values of the table that could not be read as declared are logged.
        """
        table, codes, notes = self.latents_with_notes()
        for note in notes:
            logger.warning("%s: %s", self.folder / "latents.parquet", note)
        return table, codes

    def latents_with_notes(self) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
        """Like `latents`, with sentences on values that could not be read as declared."""
        hint = "Make it with `lungvae encode`."
        joined = self.read_table("latents.parquet", hint=hint)
        names = code_columns(self.config.model.dimensions)
        there = sum(re.fullmatch(rf"{CODE}\d+", str(column)) is not None for column in joined)
        if there != len(names) or not set(names) <= set(joined):
            raise self._damaged(
                f"latents.parquet has {there} code columns, but the model has {len(names)} dimensions"
            )
        table = joined.drop(columns=names)
        if missing := [column for column in KEY if column not in table]:
            raise self._damaged(f"latents.parquet lacks the column {missing[0]}", hint)
        if not len(table):
            raise self._damaged("latents.parquet has no slices", hint)
        if fault := wrong_key(table):
            raise self._damaged(f"latents.parquet has {fault}", hint)
        codes = _numbers(joined[names])
        if codes is None:
            raise self._damaged("latents.parquet has codes that are not finite numbers", hint)
        scored = set(table) >= set(SCORED)  # else a score is a column of the person's own
        factors = [name for name in table if self.info.data.generated and str(name).startswith(FACTOR)]
        keep = {*ADDED, *(SCORED if scored else ()), *factors}
        table, notes = as_declared(table.rename(columns=without_own(table.columns, keep=keep)))
        return table, codes, notes

    def read_map(self, unit: str, rows: int) -> pd.DataFrame:
        """The places of so many slices or nodules on the run's maps; UserError when missing or damaged."""
        hint, name = "Make it with `lungvae map`.", f"map-{unit}.parquet"
        table = self.read_table(name, hint=hint)
        if len(table) != rows:
            raise self._damaged(f"{name} has {len(table):,} rows for {rows:,} {unit}s", hint)
        places = [column for column in table if str(column).endswith(("_x", "_y", "_z"))]
        if _numbers(table[places]) is None:
            raise self._damaged(f"{name} has places that are no numbers", hint)
        return table

    def _damaged(self, fault: str, hint: str = "") -> UserError:
        return UserError(f"The model {self.folder} is damaged: {fault}. {hint}".rstrip())

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        with atomic_path(self.folder / name) as temporary:
            # Floats are almost all distinct: a dictionary of them would take half as much space again.
            numbers = [str(name) for name in table if is_float_dtype(table[name])]
            table.to_parquet(
                temporary,
                compression="zstd",
                compression_level=19,
                index=False,
                use_dictionary=[str(name) for name in table if name not in numbers],
                use_byte_stream_split=numbers,
            )

    def read_table(self, name: str, *, hint: str) -> pd.DataFrame:
        """A parquet table of the run; UserError with `hint` when it is missing."""
        if not self.has(name):
            raise UserError(f"{self.folder} has no {name}. {hint}")
        try:
            return read_parquet(self.folder / name)
        except Exception as error:  # pyarrow raises many kinds; to a person they are one
            raise self._damaged(f"{name} cannot be read", hint) from error


def code_columns(dimensions: int) -> list[str]:
    """The columns of latents.parquet that hold the code, one a dimension."""
    return [f"{CODE}{index:03d}" for index in range(dimensions)]


def _numbers(table: pd.DataFrame) -> np.ndarray | None:
    """A table's values (N, K) as float32, or None where one is no finite number."""
    try:
        values = table.to_numpy(np.float32)
    except (TypeError, ValueError):
        return None
    return values if np.isfinite(values).all() else None


def _made_by(raw: dict[str, Any]) -> str:
    """The version that wrote a config.json, as text."""
    versions = raw.get("versions")
    made = versions.get("lungvae") if isinstance(versions, dict) else None
    return f"{made[:20]} or newer" if isinstance(made, str) and made else "of a newer version"


def check_out(out: Path, file: str, kind: str, *, resume: bool, may_be_there: Callable[[str], bool]) -> None:
    """Raise UserError unless a `kind`, marked by `file`, can begin in the folder `out`, or `resume` there.

    A killed start may have left the files for whose names `may_be_there` is true.
    """
    exists = (out / file).exists()
    if exists and not resume:
        raise UserError(
            f"{out} already holds a {kind}. Add --resume to go on with it, or choose another --out."
        )
    if resume and not exists:
        raise UserError(f"{out} holds no {kind} to resume. Leave out --resume to start one there.")
    if not exists and out.is_dir() and not all(may_be_there(entry.name) for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and is not a {kind}. Choose another --out.")


def default_split(config: Config, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, held-out rows) of a table, as determined by the configuration."""
    training = config.training
    return holdout(table, fraction=training.validation_fraction, seed=training.seed)


def save_checkpoint(
    run: Run,
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    position: dict[str, Any],
) -> None:
    """Save everything that a resumed training needs to continue as if never stopped.

    `position` is JSON: epoch, batch, the schedule's scale, sums; the order of the slices and all random draws
    follow from the seed, the epoch and the batch.
    """
    parts = {name: network.state_dict() for name, network in networks.items()}
    for name, optimiser in optimisers.items():
        parts[name] = {
            f"{index}.{entry}": torch.as_tensor(value)
            for index, entries in optimiser.state_dict()["state"].items()
            for entry, value in entries.items()
        }
    parts["random"] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        parts["random"]["cuda"] = torch.cuda.get_rng_state()
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    save_tensors(run.folder / CHECKPOINT, tensors, position)


def load_checkpoint(run: Run) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(the tensors of each network and optimiser that has any, position) of the newest checkpoint."""
    tensors, position = load_tensors(run.folder / CHECKPOINT)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return parts, position


def restore_checkpoint(
    run: Run,
    parts: dict[str, dict[str, Tensor]],
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Put a checkpoint's tensors back into the networks, their optimisers and the random state."""
    try:
        for name, network in networks.items():
            network.load_state_dict(parts.get(name, {}))
        for name, optimiser in optimisers.items():
            _restore_optimiser(optimiser, parts.get(name, {}))
        torch.set_rng_state(parts["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in parts["random"]:
            torch.cuda.set_rng_state(parts["random"]["cuda"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(
            f"The checkpoint in {run.folder} does not fit its configuration and cannot be resumed."
        ) from error


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser back its moments, saved as `index.name` in the order of its parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, entry = name.split(".", 1)
        state.setdefault(int(index), {})[entry] = tensor
    learned = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(learned):
        for entry, tensor in state.get(number, {}).items():
            if tensor.shape == parameter.shape:
                # Files hold tensors row by row; the moments must lie in memory as their weights do.
                state[number][entry] = torch.empty_like(parameter).copy_(tensor)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
