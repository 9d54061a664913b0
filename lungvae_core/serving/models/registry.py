"""The trained models that can be served: found in folders, opened once, shared by all threads.

A loaded model never changes, since threads share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import reader_mean
from lungvae_core.data.resample import at_spacing, to_spacing
from lungvae_core.data.slices import DatasetInfo
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import OF_RUN, Report, load_run_report
from lungvae_core.explore import maps, traversal
from lungvae_core.explore.measured import record
from lungvae_core.files import offered
from lungvae_core.lazy import Renewed, lazy
from lungvae_core.parameters import printable
from lungvae_core.serving.models.nearness import Nearness
from lungvae_core.serving.models.pixels import Pixels, locate
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.adversary import INVENTED
from lungvae_core.training.attention import Attentions, load_attentions
from lungvae_core.training.checkpoints import KNOWN, OPTIONAL, SERVED, Run, RunInfo
from lungvae_core.training.classifier import Classifier, load_classifier
from lungvae_core.training.encode import encode_with_quality, trained_rows
from lungvae_core.training.ensemble import FOLDS, Ensemble, load_ensemble
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.vae.latents import Latent
from lungvae_core.vae.quick import one_call, quick_decoder

MOST_BYTES = 2 * 2**30  # of all open models
_SOLID = 4.5  # mean rating of texture, 1 to 5


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be picked, before it is opened."""

    name: str  # the folder's name; unique, and safe in a URL
    title: str
    folder: Path
    prior: str  # "gaussian" or "dirichlet"
    preset: str
    dimensions: int
    shipped: bool
    guided: bool  # its first dimensions were tied to readers' ratings or measured properties
    data: DatasetInfo


@dataclass(frozen=True)
class Prediction:
    """A model's output for one slice."""

    code: np.ndarray  # (K,) float32
    reconstruction: np.ndarray  # (64, 64) float32, 0..1 of the model's window
    score: float | None  # 0 benign .. 1 malignant; None without a classifier
    band: tuple[float, float] | None  # the range of 90 % of classifiers fitted on resampled patients
    ssim: float
    mse: float
    ssim_rank: float | None  # share of the model's own slices that are reconstructed better, if known
    distance_rank: float  # share of them whose nearest other patient is nearer than this slice's
    neighbours: list[dict[str, Any]]  # nearest first: patient_id, nodule, slice, malignancy, row, distance

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}


class LoadedModel:
    """A model opened for serving; its methods may be called from many threads.

    `notes` has a sentence for everything in its table that was not read as written, and one if it invents
    texture.
    """

    def __init__(self, entry: ModelEntry, settings: Settings) -> None:
        self.entry = entry
        self.run = Run.open(entry.folder)
        self.vae = self.run.load_model()
        if next(self.vae.parameters()).device.type == "cpu":  # a third faster for the same images
            self.vae.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classifier: Classifier | None = load_classifier(self.run)
        self.folds: Ensemble | None = load_ensemble(self.run, FOLDS)
        self.ensemble: Ensemble | None = load_ensemble(self.run)
        self.attentions: Attentions | None = load_attentions(self.run)
        self.settings = settings
        self._table, self.codes, self.notes = self.run.latents_with_notes()
        if self.run.config.objective.adversarial:
            self.notes.append(INVENTED)
        self.codes.setflags(write=False)

    @property
    def latent(self) -> Latent:
        return self.vae.latent

    @property
    def window(self) -> tuple[float, float]:
        """(low, high) HU that 0 and 1 of its images stand for."""
        return self.run.config.model.hu_low, self.run.config.model.hu_high

    @property
    def spacing_mm(self) -> float:
        """The pixel spacing that slices are resampled to before the model sees them; 0: native pixels."""
        return self.run.config.model.spacing_mm

    @property
    def spacing_words(self) -> str:
        """How the pixels of the slices it shows were resampled; empty for a model of native pixels."""
        if not self.spacing_mm:
            return ""
        return f"resampled to {self.spacing_mm:g} mm a pixel, mirrored at the border where the crop ends"

    @property
    def table(self) -> pd.DataFrame:
        """One row per slice that the model has encoded; row numbers are 0 .. N-1 everywhere.

        Each call returns a new frame, which shares its columns until one is changed.
        """
        return self._table.copy(deep=False)

    def lesion(self, row: int) -> dict[str, Any]:
        """A row of the table by column, a hundred times faster than through the table."""
        return {name: values[row] for name, values in self._columns.items()}

    @lazy
    def _columns(self) -> dict[str, np.ndarray]:
        return {str(name): self._table[name].to_numpy() for name in self._table}

    @property
    def nodules(self) -> tuple[pd.DataFrame, np.ndarray]:
        """(a row per nodule: patient_id, nodule, row (its representative slice), slices; codes (M, K))."""
        table, codes = self._nodules
        return table.copy(deep=False), codes

    @lazy
    def _nodules(self) -> tuple[pd.DataFrame, np.ndarray]:
        return maps.nodules(self.table, self.codes)

    @lazy
    def usual_row(self) -> int:
        """A nodule's representative slice that shows typical results of the model; pages start with it.

        It is chosen among patients that the model was not trained on, if there are any, and among solid
        lesions of a typical size, which are easy to see in the slice: the one with their median SSIM.
        """
        rows, table = self._nodules[0]["row"].to_numpy(), self._table
        unseen = rows[~trained_rows(table)[rows]]
        rows = unseen if len(unseen) else rows
        rows = rows[_plain_to_see(table.iloc[rows])]
        if "ssim" not in table:
            return int(rows[0])
        order = np.argsort(numbers(table, "ssim")[rows], kind="stable")
        return int(rows[order[(len(rows) - 1) // 2]])

    @lazy
    def ranges(self) -> np.ndarray:
        """(K, 2) the range of each dimension's slider."""
        return traversal.ranges(self.codes, self.latent)

    @lazy
    def order(self) -> np.ndarray:
        """(K,) dimensions, those that vary most over the lesions first."""
        return traversal.order(self.codes)

    @lazy
    def starts(self) -> dict[str, np.ndarray]:
        """Codes (K,) to start from by name: prior, malignant, benign, indeterminate."""
        return {"prior": self.latent.centre(), **traversal.class_means(self.table, self.codes, self.latent)}

    @lazy
    def evaluation(self) -> Report | None:
        """evaluation.json, or None; UserError when it is damaged."""
        return load_run_report(self.run)

    @lazy
    def measured(self) -> dict[str, Any] | None:
        """measured.json, or None; UserError when it is damaged or another model's."""
        return record.load(self.run)

    def map(self, unit: str, method: str, dims: int = 2) -> np.ndarray:
        """(N or M, dims) float32 positions of slices or nodules; UserError when the run has no such map."""
        if unit not in maps.UNITS or method not in maps.METHODS or dims not in maps.DIMS:
            raise UserError(f"There is no {method[:20]!r} map of {unit[:20]!r} in {dims} dimensions.")
        table = self._slice_map if unit == "slice" else self._nodule_map
        names = maps.columns(method, dims)
        if not set(names) <= set(table):
            if method == "pca":  # fast to compute
                return maps.project(self._nearness(unit).lesions, method, dims=dims)
            raise UserError(
                f"{self.entry.name} has no {maps.TITLES[method]} map of {dims} dimensions yet. Make it with "
                f"`lungvae map {self.entry.folder}`."
            )
        return table[names].to_numpy(np.float32)

    @lazy
    def _slice_map(self) -> pd.DataFrame:
        return self.run.read_map("slice", len(self._table))

    @lazy
    def _nodule_map(self) -> pd.DataFrame:
        return self.run.read_map("nodule", len(self._nodules[0]))

    @lazy
    def pixels(self) -> Pixels | None:
        """The CT slices behind the codes, where this machine has them."""
        folders = [Path(self.run.info.data_folder)] if self.run.info.data_folder else []
        folders += [path.parent for path in self.settings.data_sets()]
        return locate(self.run.info.data, self.table, folders)

    @property
    def real(self) -> np.ndarray:
        """(N,) bool: which rows have CT slices here; the others show reconstructions, which are generated."""
        return np.zeros(len(self.codes), bool) if self.pixels is None else self.pixels.at >= 0

    def decode(self, codes: np.ndarray, *, quick: bool = False) -> np.ndarray:
        """Images (N, 64, 64) float32 in 0..1 from codes (N, K); with `quick`, slightly inexact."""
        if quick and self._quick is not None:
            return self._quick(codes)
        return self.vae.decode_codes(codes)

    def hu(self, images: np.ndarray) -> np.ndarray:
        """Images in 0..1 of the model's window as HU."""
        low, high = self.window
        return low + (high - low) * images

    @lazy
    def _quick(self) -> Callable[[np.ndarray], np.ndarray] | None:
        return quick_decoder(self.vae)

    def classifier_of(self, patient: str | None) -> Classifier | None:
        """The classifier that scores codes related to a patient of the data set: one that has not seen them.

        It is the classifier of the fold in which the patient was tested. For patients without a label, for
        patients not in the data set, and for all patients in runs that keep no folds (`scoring` says so), it
        is the final one. None if there is no classifier.
        """
        if self.classifier is None or self.folds is None or patient is None:
            return self.classifier
        return self.folds.stranger_to(patient) or self.classifier

    def score(self, codes: np.ndarray, *, patient: str | None) -> np.ndarray | None:
        """(N,) model scores 0..1 of codes (N, K) by `classifier_of`; None without a classifier."""
        classifier = self.classifier_of(patient)
        if classifier is None:
            return None
        with torch.inference_mode():
            logits = self._calls[id(classifier)](torch.tensor(np.asarray(codes), dtype=torch.float32))
        return expit(logits.numpy().astype(np.float64))

    @lazy
    def _calls(self) -> dict[int, Callable[[Tensor], Tensor]]:
        """The final classifier and the folds', as one call each; see `vae.quick`."""
        classifiers = [self.classifier, *(self.folds.members if self.folds else ())]
        return {
            id(each): one_call(each, torch.zeros(2, each.dimensions))
            for each in classifiers
            if each is not None
        }

    def band(self, codes: np.ndarray, *, patient: str | None) -> np.ndarray | None:
        """(N, 2) the range of the scores of 90 % of the classifiers fitted on resampled patients.

        `patient`, of the data set, is scored by those that did not learn from them. None if these are too
        few.
        """
        return None if self.ensemble is None else self.ensemble.band(codes, patient=patient)

    def band_of(self, code: np.ndarray, *, patient: str | None) -> tuple[float, float] | None:
        """`band` of a single code (K,)."""
        band = self.band(code[None], patient=patient)
        return None if band is None else (float(band[0, 0]), float(band[0, 1]))

    def familiarity(self, codes: np.ndarray, *, exclude_patient: str | None = None) -> np.ndarray:
        """(M,) 0..1; see `Nearness.familiarity`."""
        return self.nearness.familiarity(codes, exclude_patient=exclude_patient)

    def image(self, row: int) -> tuple[np.ndarray, bool]:
        """((64, 64) float32 in 0..1, whether it is the real slice); else its reconstruction."""
        images, real = self.images(np.array([row]))
        return images[0], bool(real[0])

    def images(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((M, 64, 64) float32 in 0..1, (M,) whether each is the real slice); else reconstructions.

        Slices are as the model sees them: at its pixel spacing, if it has a fixed one.
        """
        real = self.real[rows]
        images = np.empty((len(rows), 64, 64), np.float32)
        if self.pixels is not None and real.any():
            hu = self.pixels.slices(rows[real])
            if self.spacing_mm:
                hu = at_spacing(hu, self.table.iloc[rows[real]], self.spacing_mm)
            images[real] = self.vae.images(hu)[:, 0].numpy()
        if not real.all():
            images[~real] = self.decode(self.codes[rows[~real]])
        return images, real

    def shown_spacing(self, row: int) -> float | None:
        """The pixel spacing in mm of a row's image as it is shown: the model's own, else the slice's."""
        return self.spacing_mm or known_number(self.lesion(row), "pixel_spacing_mm")

    def seen(self, hu: np.ndarray, spacing_mm: float | None = None) -> np.ndarray:
        """A slice hu (64, 64) int16 of pixels of `spacing_mm`, as the model sees it: at its own spacing.

        Raises UserError for another shape, and for an unknown spacing where the model needs it.
        """
        if hu.shape != (64, 64):
            raise UserError(f"A slice of 64x64 pixels is needed, not {hu.shape}.")
        if not self.spacing_mm:
            return hu
        if spacing_mm is None:
            raise UserError(
                f"The model {self.entry.name} sees slices at {self.spacing_mm:g} mm a pixel, and the image "
                "does not tell its own pixel spacing. State it in mm (`lungvae predict --spacing MM`, or the "
                "field on the Predict page), or choose a model of native pixels."
            )
        return to_spacing(hu[None], np.array([spacing_mm]), self.spacing_mm, names=["The image"])[0]

    def predict(
        self,
        hu: np.ndarray,
        *,
        spacing_mm: float | None = None,
        count: int = 8,
        exclude_patient: str | None = None,
    ) -> Prediction:
        """Encode, reconstruct and score a slice hu (64, 64) int16, with neighbours, one a patient.

        `exclude_patient`, of the set, is left out of the neighbours and scored by a classifier that has not
        seen them.
        `hu` has native pixels of `spacing_mm`, which a model of a fixed spacing needs; see `seen`.
        """
        codes, quality = encode_with_quality(self.vae, self.seen(hu, spacing_mm)[None])
        rows, distances = self.nearness.neighbours(codes[0], count, exclude_patient=exclude_patient)
        scores = self.score(codes, patient=exclude_patient)
        ssim = float(quality["ssim"][0])
        return Prediction(
            code=codes[0],
            reconstruction=self.decode(codes)[0],
            score=None if scores is None else float(scores[0]),
            band=self.band_of(codes[0], patient=exclude_patient),
            ssim=ssim,
            mse=float(quality["mse"][0]),
            ssim_rank=self.ssim_rank(ssim),
            distance_rank=float(self.familiarity(codes, exclude_patient=exclude_patient)[0]),
            neighbours=[
                self._neighbour(int(row), float(distance))
                for row, distance in zip(rows, distances, strict=True)
            ],
        )

    def ssim_rank(self, ssim: float) -> float | None:
        """The share of the model's own slices that are reconstructed better; None where none has an SSIM."""
        return float((self._ssims > ssim).mean()) if len(self._ssims) else None

    @lazy
    def _ssims(self) -> np.ndarray:
        values = numbers(self._table, "ssim")
        return values[np.isfinite(values)]

    @lazy
    def lesion_space(self) -> LesionSpace:
        """The space in which its lesions are compared and scored."""
        return LesionSpace.of(self.run, self._table, self.codes, self.vae)

    @lazy
    def nearness(self) -> Nearness:
        """How near codes are to its slices."""
        return Nearness(self.codes, self._table["patient_id"], self.lesion_space)

    @lazy
    def _nodule_nearness(self) -> Nearness:
        table, codes = self._nodules
        return Nearness(codes, table["patient_id"], self.lesion_space)

    def _nearness(self, unit: str) -> Nearness:
        return self.nearness if unit == "slice" else self._nodule_nearness

    def place(self, code: np.ndarray, unit: str, method: str) -> np.ndarray:
        """(2,) where a code lies on a map, among its ten nearest slices or nodules."""
        return self._nearness(unit).place(code, self.map(unit, method))

    def _neighbour(self, row: int, distance: float) -> dict[str, Any]:
        entry = self.lesion(row)
        rating = known_number(entry, "malignancy")
        return {
            "row": row,
            "patient_id": str(entry["patient_id"]),
            "nodule": int(entry["nodule"]),
            "slice": int(entry["slice"]),
            "malignancy": int(rating) if rating is not None and rating.is_integer() else rating,
            "distance": distance,
        }


def _plain_to_see(table: pd.DataFrame) -> np.ndarray:
    """(N,) bool: lesions that are solid and in the middle half by area; all where that leaves none."""
    area = table["area_px"].to_numpy(float, na_value=np.nan) if "area_px" in table else np.zeros(len(table))
    low, high = np.nanquantile(area, [0.25, 0.75]) if np.isfinite(area).any() else (0, 0)
    seen = (area >= low) & (area <= high)
    if "texture_all" in table:
        seen &= ~(reader_mean(table, "texture") < _SOLID)
    return seen if seen.any() else np.ones(len(table), bool)


def known_number(lesion: Mapping[str, Any], column: str) -> float | None:
    """A lesion's number in a column; None where it is unknown."""
    value = lesion.get(column)
    return None if value is None or pd.isna(value) else float(value)


class Registry:
    """Finds models in the settings' folders; opened models stay in memory until their files change.

    Together they hold `most_bytes`, or a single larger one: the least recently used are closed and opened
    again on request. Threads may request models at the same time: a model is opened once, and requests for
    other models do not wait for it.
    """

    def __init__(self, settings: Settings | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self.settings = settings or Settings()
        self._open: Renewed[LoadedModel] = Renewed(most_bytes)
        self._infos: Renewed[RunInfo] = Renewed()
        self._evaluations: Renewed[Report | None] = Renewed(most_bytes)

    def entries(self) -> list[ModelEntry]:
        """All models with weights and codes: shipped, guided and large first; the first is the default."""
        return self._scan()[0]

    def broken(self) -> dict[str, str]:
        """Folders that look like models but cannot be used, with the reason."""
        return {printable(str(folder)): printable(reason) for folder, reason in self._scan()[1].items()}

    def load(self, name: str) -> LoadedModel:
        """The listed model of that name; UserError when there is none or it is damaged.

        Names from outside must come through here: only the list is searched, never a path.
        """
        entries, broken = self._scan()
        entry = next((entry for entry in entries if entry.name == name), None)
        if entry is None:
            reason = next((reason for folder, reason in broken.items() if folder.name == name), None)
            listed = ", ".join(entry.name for entry in entries) or "none yet"
            raise UserError(
                printable(reason) if reason else f"There is no model {_shown(name)}. Models here: {listed}."
            )
        return self._opened(entry)

    def load_from(self, argument: str) -> LoadedModel:
        """The listed model of that name, or else the model in that folder: for the command line alone."""
        folder = Path(argument)
        try:
            is_model = (folder / "config.json").is_file()
        except (OSError, ValueError):  # too long, or with a null byte
            is_model = False
        if not is_model or any(entry.name == argument for entry in self.entries()):
            return self.load(argument)
        return self._opened(self._entry(folder, shipped=False))

    def evaluation(self, entry: ModelEntry) -> Report | None:
        """A listed model's evaluation.json, without opening the model; see `LoadedModel.evaluation`."""
        state = _file_state(entry.folder / OF_RUN)
        return self._evaluations.get(entry.folder, state, lambda: load_run_report(Run.open(entry.folder)))

    def _opened(self, entry: ModelEntry) -> LoadedModel:
        state = self._state(entry.folder)
        return self._open.get(entry.folder, state, lambda: LoadedModel(entry, self.settings))

    def _state(self, folder: Path) -> tuple:
        """A value that changes when a model must be opened again."""
        files = [path for path in sorted(folder.iterdir()) if path.name in SERVED + OPTIONAL + KNOWN]
        # A data set that appears or changes can stand behind the codes, so it counts like the model's files.
        return tuple(_file_state(path) for path in files + self.settings.data_sets())

    def _scan(self) -> tuple[list[ModelEntry], dict[Path, str]]:
        listed: dict[str, ModelEntry] = {}
        broken: dict[Path, str] = {}
        seen: set[Path] = set()
        for base, shipped in ((self.settings.models, True), (self.settings.runs, False)):
            for config in offered(base, "*/config.json"):
                folder = config.parent
                if not all((folder / name).is_file() for name in ("model.safetensors", "latents.parquet")):
                    continue  # still in training
                seen.add(folder)
                try:
                    entry = self._entry(folder, shipped=shipped)
                    failure = self._open.failure(folder, partial(self._state, folder))
                except (UserError, OSError) as error:
                    broken[folder] = str(error)
                    continue
                if failure is not None:
                    broken[folder] = failure
                else:
                    listed.setdefault(entry.name, entry)
        self._infos.keep(seen)
        self._open.keep(seen)
        self._evaluations.keep(seen)
        # Runs of one preset share its title, but a menu must distinguish them.
        titles = Counter(entry.title for entry in listed.values())
        entries = [
            replace(entry, title=f"{entry.title}: {entry.name}") if titles[entry.title] > 1 else entry
            for entry in listed.values()
        ]
        return sorted(entries, key=_picked_first), broken

    def _entry(self, folder: Path, *, shipped: bool) -> ModelEntry:
        if not folder.name.isprintable():
            raise UserError("The folder's name has characters that cannot be shown. Rename it.")
        # Read again only when its file changes, since every request looks through all runs.
        info = self._infos.get(folder, _file_state(folder / "config.json"), lambda: Run.open(folder).info)
        return ModelEntry(
            name=folder.name,
            title=info.title,
            folder=folder,
            prior=info.config.model.prior,
            preset=info.config.preset,
            dimensions=info.config.model.dimensions,
            shipped=shipped,
            guided=bool(info.config.objective.guided),
            data=info.data,
        )


def _picked_first(entry: ModelEntry) -> tuple[bool, bool, int]:
    return not entry.shipped, not entry.guided, -entry.dimensions if entry.shipped else 0


def _file_state(path: Path) -> tuple[str, int, int, int]:
    """A value that changes with a file's time, size or place on the disk; zeros if it is not a file."""
    try:
        status = path.stat()
    except OSError:  # just deleted, or a broken link: reading it will report this
        return str(path), 0, 0, 0
    return str(path), status.st_mtime_ns, status.st_size, status.st_ino


def _shown(name: str) -> str:
    """A name from outside in a form that can be shown: short, and without unprintable characters."""
    short = name[: 64 if name.isascii() else 16]  # each other character is written as up to ten
    return f"{short!a}" if short == name else f"{short!a}..."
