"""The trained models that can be served: found in folders, opened once, shared by everybody."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lungvae_core.data.resample import at_spacing, to_spacing
from lungvae_core.data.slices import DatasetInfo
from lungvae_core.errors import UserError
from lungvae_core.explore import maps, traversal
from lungvae_core.explore.measured import record
from lungvae_core.explore.neighbours import features, nearest, place
from lungvae_core.files import read_json
from lungvae_core.serving.pixels import Pixels, locate
from lungvae_core.serving.settings import Settings
from lungvae_core.training.checkpoints import KNOWN, OPTIONAL, SERVED, Run, RunInfo
from lungvae_core.training.classifier import Classifier, load_classifier
from lungvae_core.training.encode import encode_with_quality
from lungvae_core.training.ensemble import Ensemble, load_ensemble
from lungvae_core.vae.latents import Latent
from lungvae_core.vae.quick import quick_decoder


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
    data: DatasetInfo


@dataclass(frozen=True)
class Prediction:
    """What a model says of one slice."""

    code: np.ndarray  # (K,) float32
    reconstruction: np.ndarray  # (64, 64) float32, 0..1 of the model's window
    score: float | None  # 0 benign .. 1 malignant; None without a classifier
    ssim: float
    mse: float
    ssim_rank: float  # share of the model's own slices that are reconstructed better
    distance_rank: float  # share of them whose nearest other patient is nearer than this slice's
    neighbours: list[dict[str, Any]]  # nearest first: patient_id, nodule, slice, malignancy, row, distance
    band: tuple[float, float] | None = None  # where 90 % of classifiers fitted on patients drawn again lie

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        return {
            "score": self.score,
            "band": None if self.band is None else list(self.band),
            "ssim": self.ssim,
            "mse": self.mse,
            "ssim_rank": self.ssim_rank,
            "distance_rank": self.distance_rank,
            "neighbours": self.neighbours,
        }


class LoadedModel:
    """A model opened for serving; its methods may be called from many threads."""

    def __init__(self, entry: ModelEntry, settings: Settings) -> None:
        self.entry = entry
        self.run = Run.open(entry.folder)
        self.vae = self.run.load_model()
        self.classifier: Classifier | None = load_classifier(self.run)
        self.ensemble: Ensemble | None = load_ensemble(self.run)
        self.settings = settings
        self._maps: dict[str, pd.DataFrame] = {}

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
        """What was done to the pixels of the slices that it shows; empty for a model of native pixels."""
        if not self.spacing_mm:
            return ""
        return f"resampled to {self.spacing_mm:g} mm a pixel, mirrored at the border where the crop ends"

    @cached_property
    def _latents(self) -> tuple[pd.DataFrame, np.ndarray]:
        return self.run.latents()

    @property
    def table(self) -> pd.DataFrame:
        """A row a slice that the model has encoded; row numbers are 0 .. N-1 everywhere."""
        return self._latents[0]

    @property
    def codes(self) -> np.ndarray:
        """(N, K) float32, in the table's order."""
        return self._latents[1]

    @cached_property
    def nodules(self) -> tuple[pd.DataFrame, np.ndarray]:
        """(a row a nodule: patient_id, nodule, row (its representative slice), slices; codes (M, K))."""
        return maps.nodules(self.table, self.codes)

    @cached_property
    def ranges(self) -> np.ndarray:
        """(K, 2) what each dimension's slider spans."""
        return traversal.ranges(self.codes, self.entry.prior)

    @cached_property
    def order(self) -> np.ndarray:
        """(K,) dimensions, those that vary most over the lesions first."""
        return traversal.order(self.codes)

    @cached_property
    def starts(self) -> dict[str, np.ndarray]:
        """Codes (K,) to start from by name: prior, malignant, benign, indeterminate."""
        return {
            "prior": self.latent.centre(),
            **traversal.class_means(self.table, self.codes, self.latent),
        }

    @cached_property
    def evaluation(self) -> dict[str, Any] | None:
        """evaluation.json, or None."""
        if not self.run.has("evaluation.json"):
            return None
        return read_json(self.run.folder / "evaluation.json", what="The model's evaluation")

    @cached_property
    def measured(self) -> dict[str, Any] | None:
        """measured.json, or None; UserError when it is damaged or another model's."""
        return record.load(self.run)

    def map(self, unit: str, method: str, dims: int = 2) -> np.ndarray:
        """(N or M, dims) float32 positions of slices or nodules; UserError when the run has no such map."""
        if unit not in maps.UNITS or method not in maps.METHODS or dims not in maps.DIMS:
            raise UserError(f"There is no {method[:20]!r} map of {unit[:20]!r} in {dims} dimensions.")
        if unit not in self._maps:
            self._maps[unit] = self.run.read_table(f"map-{unit}.parquet", hint="Make it with `lungvae map`.")
        names = maps.columns(method, dims)
        if not set(names) <= set(self._maps[unit]):
            if method == "pca":  # made in no time
                codes = self._features if unit == "slice" else features(self.nodules[1], self.entry.prior)
                return maps.project(codes, method, dims=dims)
            raise UserError(
                f"{self.entry.name} has no {maps.TITLES[method]} map of {dims} dimensions yet. Make it with "
                f"`lungvae map {self.entry.folder}`."
            )
        return self._maps[unit][names].to_numpy(np.float32)

    @cached_property
    def pixels(self) -> Pixels | None:
        """The CT slices behind the codes, where this machine has them."""
        folders = [Path(self.run.info.data_folder)] if self.run.info.data_folder else []
        folders += [path.parent for path in self.settings.data_sets()]
        return locate(self.run.info.data, self.table, folders)

    @property
    def real(self) -> np.ndarray:
        """(N,) bool: which rows have CT slices here; the others show reconstructions, which are generated."""
        return np.zeros(len(self.table), bool) if self.pixels is None else self.pixels.at >= 0

    def decode(self, codes: np.ndarray, *, quick: bool = False) -> np.ndarray:
        """Images (N, 64, 64) float32 in 0..1 from codes (N, K); a shade off where they may be `quick`."""
        if quick and self._quick is not None:
            return self._quick(codes)
        return self.vae.decode_codes(codes)

    @cached_property
    def _quick(self) -> Callable[[np.ndarray], np.ndarray] | None:
        return quick_decoder(self.vae)

    def score(self, codes: np.ndarray) -> np.ndarray | None:
        """(N,) model scores 0..1 of codes (N, K), or None without a classifier."""
        if self.classifier is None:
            return None
        return expit(self.classifier.logits(codes).astype(np.float64))

    def band(self, codes: np.ndarray, *, patient: str | None = None) -> np.ndarray | None:
        """(N, 2) between which scores 90 % of the classifiers lie that were fitted on patients drawn again.

        `patient`, of the set, is judged by those that did not learn from it. None where too
        few did not.
        """
        return None if self.ensemble is None else self.ensemble.band(codes, patient=patient)

    def familiarity(self, codes: np.ndarray, *, exclude_patient: str | None = None) -> np.ndarray:
        """(M,) 0..1: the share of the model's own slices that are nearer to another patient's than each code.

        0.5 is as near to a lesion as lesions of different patients usually are; near 1, far from all of them.
        """
        nearest_of = self._nearest_other
        if not len(nearest_of):
            return np.ones(len(codes))
        own = features(np.asarray(codes), self.entry.prior)
        squares = (own**2).sum(1)[:, None] + self._squares - 2 * own @ self._features.T  # (M, N)
        if exclude_patient is not None:
            squares[:, self._patients == exclude_patient] = np.inf
        distance = np.sqrt(np.maximum(squares.min(1), 0))
        return np.searchsorted(nearest_of, distance, side="left") / len(nearest_of)

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
            hu = at_spacing(self.pixels.slices(rows[real]), self.table.iloc[rows[real]], self.spacing_mm)
            images[real] = self.vae.images(hu)[:, 0].numpy()
        if not real.all():
            images[~real] = self.decode(self.codes[rows[~real]])
        return images, real

    def shown_spacing(self, row: int) -> float | None:
        """The pixel spacing in mm of a row's image as it is shown: the model's own, else the slice's."""
        value = self.table["pixel_spacing_mm"].iloc[row] if "pixel_spacing_mm" in self.table else None
        return self.spacing_mm or (None if value is None or pd.isna(value) else float(value))

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

        `hu` has native pixels of `spacing_mm`, which a model of a fixed spacing needs; see `seen`.
        """
        codes, quality = encode_with_quality(self.vae, self.seen(hu, spacing_mm)[None])
        rows, distances = self.neighbours(codes[0], count, exclude_patient=exclude_patient)
        scores = self.score(codes)
        band = self.band(codes, patient=exclude_patient)
        ssim = float(quality["ssim"][0])
        return Prediction(
            code=codes[0],
            reconstruction=self.decode(codes)[0],
            score=None if scores is None else float(scores[0]),
            ssim=ssim,
            mse=float(quality["mse"][0]),
            ssim_rank=float((self.table["ssim"] > ssim).mean()),
            distance_rank=float((self._nearest_other < distances[0]).mean()) if len(distances) else 1.0,
            neighbours=[
                self._neighbour(int(row), float(distance))
                for row, distance in zip(rows, distances, strict=True)
            ],
            band=None if band is None else (float(band[0, 0]), float(band[0, 1])),
        )

    def neighbours(
        self, code: np.ndarray, count: int = 8, *, exclude_patient: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows, distances) of the nearest slices in the latent space, at most one a patient."""
        return nearest(
            self.codes,
            code,
            count,
            prior=self.entry.prior,
            patients=self._patients,
            exclude_patient=exclude_patient,
            one_per_patient=True,
        )

    def place(self, code: np.ndarray, unit: str, method: str) -> np.ndarray:
        """(2,) where a code lies on a map, among its ten nearest slices or nodules."""
        codes = self.codes if unit == "slice" else self.nodules[1]
        rows, distances = nearest(codes, code, 10, prior=self.entry.prior)
        return place(self.map(unit, method), rows, distances)

    @cached_property
    def _patients(self) -> np.ndarray:
        return self.table["patient_id"].astype(str).to_numpy()

    @cached_property
    def _features(self) -> np.ndarray:
        return features(self.codes, self.entry.prior)

    @cached_property
    def _squares(self) -> np.ndarray:
        return (self._features**2).sum(1)

    @cached_property
    def _nearest_other(self) -> np.ndarray:
        """Distances of a fixed sample of slices to the nearest slice of another patient, in order."""
        inputs, squares = self._features, self._squares
        sample = np.random.default_rng(0).choice(len(inputs), min(300, len(inputs)), replace=False)
        apart = squares[sample, None] + squares - 2 * inputs[sample] @ inputs.T  # (300, N), squared
        patient = pd.factorize(self._patients)[0]
        apart[patient[sample, None] == patient] = np.inf
        nearest_of = np.sqrt(np.maximum(apart.min(1), 0))
        return np.sort(nearest_of[np.isfinite(nearest_of)])

    def _neighbour(self, row: int, distance: float) -> dict[str, Any]:
        entry = self.table.iloc[row]
        malignancy = entry.get("malignancy")
        return {
            "row": row,
            "patient_id": str(entry["patient_id"]),
            "nodule": int(entry["nodule"]),
            "slice": int(entry["slice"]),
            "malignancy": None if malignancy is None or pd.isna(malignancy) else int(malignancy),
            "distance": distance,
        }


class Registry:
    """Finds models in the settings' folders; opened models stay in memory until their files change."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._lock = threading.Lock()
        self._open: dict[str, tuple[tuple, LoadedModel]] = {}

    def entries(self) -> list[ModelEntry]:
        """All usable models, shipped ones first; a model is usable once it has weights and codes."""
        return self._scan()[0]

    def broken(self) -> dict[str, str]:
        """Folders that look like models but cannot be used, with the reason."""
        return self._scan()[1]

    def load(self, name: str) -> LoadedModel:
        """The model of that name, or in that folder; UserError when there is none or it is damaged."""
        entry = next((entry for entry in self.entries() if entry.name == name), None)
        if entry is None:
            folder = Path(name)
            if not (folder / "config.json").is_file():
                known = ", ".join(entry.name for entry in self.entries()) or "none yet"
                raise UserError(f"There is no model {name!r}. Models here: {known}.")
            entry = self._entry(folder, shipped=False)
        # A data set that appears or changes can stand behind the codes, so it counts like the model's files.
        files = [path for path in sorted(entry.folder.iterdir()) if path.name in SERVED + OPTIONAL + KNOWN]
        stamp = tuple((str(path), path.stat().st_mtime_ns) for path in files + self.settings.data_sets())
        with self._lock:
            held = self._open.get(entry.name)
            if held is None or held[0] != stamp:
                held = (stamp, LoadedModel(entry, self.settings))
                self._open[entry.name] = held
            return held[1]

    def _scan(self) -> tuple[list[ModelEntry], dict[str, str]]:
        found: dict[str, ModelEntry] = {}
        broken: dict[str, str] = {}
        for base, shipped in ((self.settings.models, True), (self.settings.runs, False)):
            for config in sorted(base.glob("*/config.json")) if base.is_dir() else []:
                folder = config.parent
                if not all((folder / name).is_file() for name in ("model.safetensors", "latents.parquet")):
                    continue  # still in training
                try:
                    entry = self._entry(folder, shipped=shipped)
                except UserError as error:
                    broken[str(folder)] = str(error)
                    continue
                found.setdefault(entry.name, entry)
        # Runs of one preset share its title, and a menu must tell them apart.
        titles = Counter(entry.title for entry in found.values())
        entries = [
            replace(entry, title=f"{entry.title}: {entry.name}") if titles[entry.title] > 1 else entry
            for entry in found.values()
        ]
        return entries, broken

    def _entry(self, folder: Path, *, shipped: bool) -> ModelEntry:
        info = _info(folder, (folder / "config.json").stat().st_mtime_ns)
        return ModelEntry(
            name=folder.name,
            title=info.title,
            folder=folder,
            prior=info.config.model.prior,
            preset=info.config.preset,
            dimensions=info.config.model.dimensions,
            shipped=shipped,
            data=info.data,
        )


@lru_cache(maxsize=1024)
def _info(folder: Path, _changed: int) -> RunInfo:
    """A run's description, read anew only when its file changes: every request looks through all runs."""
    return Run.open(folder).info
