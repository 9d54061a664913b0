"""Training a VAE on a SliceSet: one loop, all slices in memory, resumable to the bit.

Every step's random numbers follow from the seed, the epoch and the batch alone, so a training that continues
from a checkpoint draws the same numbers.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.distributions.distribution import Distribution
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lungvae_core.data.resample import at_spacing, masks_at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.files import LEFTOVER, atomic_path, folder_lock, remove_leftovers, write_json
from lungvae_core.training.augment import augment, augment_masks, draw
from lungvae_core.training.checkpoints import (
    FEATURES,
    READER,
    TRAINED,
    Run,
    default_split,
    load_checkpoint,
    restore_optimiser,
    save_checkpoint,
)
from lungvae_core.training.classifier import Classifier, save_classifier
from lungvae_core.training.device import (
    compile_networks,
    keep_freed_memory,
    memory_error,
    pick_device,
    settle,
)
from lungvae_core.training.features import Features, check_labels, fit_features, load_features
from lungvae_core.training.guided import guided_loss, guides
from lungvae_core.training.joint import (
    HEAD,
    Head,
    Labels,
    begin_head,
    fit_guide,
    guidance,
    labels_for,
    restored_guide,
    restored_head,
)
from lungvae_core.training.lesions import Lesions, layer_loss, lesions_of, normal_scores, table_of
from lungvae_core.training.parallel import Team
from lungvae_core.training.pca_start import start_from_pca
from lungvae_core.training.reader import (
    draw_rated_steps,
    fit_reader,
    load_reader,
    rating_loss,
    reads_ratings,
)
from lungvae_core.training.validate import signs_of_collapse, validate
from lungvae_core.vae.config import Config
from lungvae_core.vae.lesion import LesionDecoder
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import RatingReader, ReadingEncoder, normalise
from lungvae_core.vae.objective import beta_at, objective
from lungvae_core.vae.sync import Share, sharing, whole_batch

SUMS = ("loss", "reconstruction", "kl", "gradient_norm", "label_loss", "guided_loss")  # of an epoch's batches
HALVINGS = 8  # of the learning rate, before a loss that is still not finite ends the training
CHECKPOINT_SECONDS = 300.0  # a long epoch is saved in its middle this often


@dataclass(frozen=True)
class Progress:
    """The progress of a training, as the command line and the Train page show it."""

    epoch: int  # from 1
    epochs: int
    batch: int  # from 1, within the epoch
    batches: int
    loss: float  # running mean over this epoch
    kl: float  # nats a slice, likewise
    ssim: float | None  # of the last validation
    images_per_second: float
    seconds_left: float


class _NotFinite(Exception):
    """A step's loss or gradient is no finite number."""

    def __init__(self, batch: int, keys: list[str]) -> None:
        super().__init__(batch, keys)
        self.batch, self.keys = batch, keys


def fit(
    config: Config,
    data: SliceSet,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    title: str = "",
    split: tuple[np.ndarray, np.ndarray] | None = None,
    until: int | None = None,
    on_nonfinite: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[dict], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Run, bool]:
    """Train on `data` into the run folder `out`; return (the run, whether it reached its last epoch).

    Patients are held out for validation, never slices: those of `split` (training rows, held-out rows), by
    default a share of all patients. When `should_stop` returns true the training stops after the current
    batch, with a checkpoint from which `resume` continues exactly as if never stopped; likewise after epoch
    `until`. A resumed run keeps its configuration, except `on_nonfinite`. Under torchrun all processes train
    one model, and `batch_size` is their total.

    Raises UserError for an `out` that holds another run, one that another process writes, data that differ
    from the run's when resuming, a loss that is not finite, and a device that runs out of memory.
    """
    team = Team(pick_device(device))
    if team.device.type == "cpu":
        keep_freed_memory()

    with contextlib.ExitStack() as held:
        team.first_does(lambda: _take(out, resume, held))
        size = config.training.batch_size
        try:
            fitting = _Fit(config, data, out, team, resume, title, split, on_nonfinite)
            size = fitting.config.training.batch_size
            return fitting.run(until, on_progress, on_epoch, should_stop)
        except (RuntimeError, MemoryError) as error:
            told = memory_error(error, team.device, size)
            if told is None:
                raise
            raise told from error


def _take(out: Path, resume: bool, held: contextlib.ExitStack) -> None:
    """Lock the run's folder, once it is clear that it may be written, and tidy it after a killed training."""
    _check_out(out, resume)
    held.enter_context(folder_lock(out, what="the run"))
    remove_leftovers(out, TRAINED)


def _check_out(out: Path, resume: bool) -> None:
    if not resume and (out / "config.json").exists():
        raise UserError(f"{out} already holds a run. Add --resume to go on with it, or choose another --out.")
    if resume and not (out / "config.json").exists():
        raise UserError(f"{out} holds no run to resume. Leave out --resume to start one there.")
    # A training killed before it had written anything leaves a lock and perhaps a temporary file.
    if not resume and out.is_dir() and any(not _is_ours(entry.name) for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and is not a run. Choose another --out.")


def _is_ours(name: str) -> bool:
    return name == ".lock" or (name.startswith(".config.json.") and name.endswith(LEFTOVER))


def _resumed(out: Path, data: SliceSet) -> Run:
    """The run to go on with; UserError when it began with other data."""
    run = Run.open(out)
    if run.info.data.content_hash != data.info.content_hash:
        raise UserError(
            f"{out} was trained on {run.info.data.name}, but {data.folder} has other content. "
            "Resume with the data it began with."
        )
    return run


class _Fit:
    """One training in progress."""

    def __init__(
        self,
        config: Config,
        data: SliceSet,
        out: Path,
        team: Team,
        resume: bool,
        title: str,
        split: tuple[np.ndarray, np.ndarray] | None,
        on_nonfinite: str | None,
    ) -> None:
        self.team, self.device = team, team.device
        if resume:
            run = _resumed(out, data)
            config, split = run.config, run.split(data.table)
        # All rows of the split's patients, in the table's order: those that the run will find again.
        patients = data.table["patient_id"].astype(str)
        train, held_out = (
            np.flatnonzero(patients.isin(set(patients.iloc[part])))
            for part in split or default_split(config, data.table)
        )
        self._load(config, data, train, held_out)  # before anything is written: it may refuse the data
        if not resume:
            team.first_does(
                lambda: Run.create(
                    out,
                    settle(config, self.device),
                    data,
                    device=str(self.device),
                    title=title,
                    processes=team.size,
                    split=split,
                )
            )
        self.run_ = Run.open(out)
        self.config = self.run_.config
        self.on_nonfinite = on_nonfinite or self.config.training.on_nonfinite
        self.features: Features | None = None
        if config.objective.feature:
            if not self.run_.has(FEATURES):
                team.first_does(lambda: fit_features(self.run_, self.hu.cpu().numpy(), data.table, train))
            self.features = load_features(self.run_, self.device)
        self.reader: RatingReader | None = None
        if self.guides is not None and reads_ratings(config):
            if not self.run_.has(READER):
                scores = self.guides.cpu().numpy()
                team.first_does(lambda: fit_reader(self.run_, self.hu.cpu().numpy(), scores))
            self.reader = load_reader(self.run_, self.device).train()  # one view is enough for a step
        self._begin()
        if self.run_.has("last.safetensors"):
            self._go_back()
        # Lines of epochs after the checkpoint belong to a future that is now trained again.
        self.rows = self.run_.metrics()[: self.epoch]
        self._write(lambda: self.run_.write_metrics(self.rows))

    def _load(self, config: Config, data: SliceSet, train: np.ndarray, held_out: np.ndarray) -> None:
        """Slices, and the masks, guides and labels that the configuration asks for, on the device."""
        spacing, objective = config.model.spacing_mm, config.objective
        slices = at_spacing(data.slices, data.table, spacing)
        masks = None
        if objective.mask_focus or objective.guided:
            masks = masks_at_spacing(data.masks, data.table, spacing)
        # int16 HU on the device: a quarter of float32, normalised batch by batch there.
        self.hu = torch.tensor(np.asarray(slices), device=self.device)
        rows = torch.as_tensor(held_out, device=self.device)
        self.held_out = self.hu[rows]
        self.masks: Tensor | None = None
        if masks is not None and objective.mask_focus:
            self.masks = torch.tensor(masks > 0, device=self.device)
        self.held_out_masks = None if self.masks is None else self.masks[rows]
        self.guides: Tensor | None = None
        self.lesions: Lesions | None = None
        if masks is not None and objective.guided:
            values, outlines = guides(config, slices, masks, data.table, train)
            self.guides = torch.tensor(normal_scores(values), device=self.device)
            if config.model.lesion_layer:
                assert outlines is not None
                self.table = table_of(values)
                self.lesions = lesions_of(outlines, values, train, config.model).to(self.device)
        if objective.feature:
            check_labels(data.table, train)
        self.keys = data.table[["patient_id", "nodule", "slice"]].reset_index(drop=True)
        self.train = torch.as_tensor(train)
        self.labels: Labels | None = None
        if config.joint.rounds:
            self.labels = labels_for(config, data.table, train)
            self.targets = torch.tensor(self.labels.labels, device=self.device)
            if self.labels.ratings is not None:
                self.ratings = torch.tensor(self.labels.ratings, device=self.device)

    def _begin(self) -> None:
        """Weights and optimiser as at the very start."""
        training = self.config.training
        torch.manual_seed(training.seed)
        self.vae = VAE(self.config.model)
        if isinstance(self.vae.decoder, LesionDecoder):
            self.vae.decoder.table.copy_(self.table)
        if isinstance(self.vae.encoder, ReadingEncoder):
            assert self.reader is not None
            self.vae.encoder.reader.load_state_dict(self.reader.state_dict())
        if training.pca_start and not self.run_.has("last.safetensors"):
            guided = len(self.config.objective.guided)
            hu = self.hu[self.train.to(self.device)]
            layers = None if self.lesions is None else self._layers
            start_from_pca(self.vae, hu, guided=guided, seed=training.seed, layers=layers)
        self.vae = self.vae.to(self.device)
        if self.device.type != "mps":
            self.vae = self.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: AveragedModel | None = None
        if training.ema:
            self.average = AveragedModel(
                self.vae, multi_avg_fn=get_ema_multi_avg_fn(training.ema), use_buffers=True
            )
        if training.compile == "on":
            compile_networks(self.vae, self.device)
        self.optimiser = torch.optim.AdamW(
            [parameter for parameter in self.vae.parameters() if parameter.requires_grad],
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.module = self.team.wrap(self.vae)
        self.guide: Classifier | Head | None = None
        self.head_optimiser: torch.optim.Optimizer | None = None
        self.epoch, self.batch = 0, 0
        self.seconds, self.halvings = 0.0, 0
        self.sums = self._no_sums()
        self.unchecked: list[tuple[int, Tensor, Tensor]] = []
        self.saved_at = time.monotonic()

    def _layers(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Background and lesion, each (N, 64, 64) in HU, of some of the training slices."""
        assert self.lesions is not None
        rows = self.train.to(self.device)[chosen]
        return self.lesions.rows(rows).layers(self.hu[rows].float())

    def _go_back(self) -> None:
        """To the newest checkpoint."""
        position, guide, moments = load_checkpoint(self.run_, self.vae, self.optimiser, self.average)
        self.epoch, self.batch = position["epoch"], position["batch"]
        self.seconds, self.halvings = position["seconds"], max(self.halvings, position["halvings"])
        self.began = time.monotonic()
        self.sums = self._no_sums()
        sums = torch.tensor(position["sums"], dtype=self.sums.dtype, device=self.device)
        self.sums[: len(sums)] = sums  # those of earlier versions have fewer
        self.guide, self.head_optimiser = None, None
        if guide and self.config.joint.head == "trained":
            self._take_head(restored_head(self.config, guide, self.device))
            assert self.head_optimiser is not None
            restore_optimiser(self.head_optimiser, moments)
        elif guide:
            self.guide = restored_guide(self.config, guide, self.device)
        self.unchecked = []

    def run(
        self,
        until: int | None,
        on_progress: Callable[[Progress], None],
        on_epoch: Callable[[dict], None],
        should_stop: Callable[[], bool],
    ) -> tuple[Run, bool]:
        last = min(self.config.epochs, until or self.config.epochs)
        self.began = time.monotonic()
        if self.epoch == 0 and self.batch == 0 and last > 0:
            self._checkpoint()  # something to go back to from the first batch on
        while self.epoch < last:
            try:
                if not self._epoch(on_progress, should_stop):
                    return self.run_, False
            except _NotFinite as found:
                self._halve_or_stop(found)
                continue
            row = self._row()
            self.rows.append(row)
            self.epoch, self.batch = self.epoch + 1, 0
            self.sums = self._no_sums()
            self._write(self._save_epoch)
            self._checkpoint()
            if self.team.first:
                on_epoch(row)
        return self.run_, self.epoch >= self.config.epochs

    def _epoch(self, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> bool:
        """Train to the end of the epoch in hand; False when asked to stop before."""
        self._begin_round()
        order, batches = self._order(), self._batches(self.epoch)
        began, done, reported = time.monotonic(), 0, 0.0
        self.vae.train()
        if isinstance(self.guide, Head):
            self.guide.train()
        while self.batch < batches:
            if self._asked_to_stop(should_stop):
                self._check_finite()
                self._checkpoint()
                return False
            self._step(order)
            done += 1
            now = time.monotonic()
            if self.team.first and (now - reported > 0.5 or self.batch == batches):
                reported = now
                progress = self._progress(done / (now - began))
                if math.isfinite(progress.loss):  # else the next look at the losses ends the epoch
                    write_json(self.run_.folder / "progress.json", asdict(progress))
                    on_progress(progress)
            # In step on every process, which each would time differently.
            if self.batch % 64 == 0 and self.team.any(now - self.saved_at > CHECKPOINT_SECONDS):
                self._check_finite()
                self._checkpoint()
        self._check_finite()
        return True

    def _asked_to_stop(self, should_stop: Callable[[], bool]) -> bool:
        if self.team.size == 1:
            return should_stop()
        return self.batch % 8 == 0 and self.team.any(should_stop())

    def _begin_round(self) -> None:
        """At the first batch of a joint round: a new guide."""
        training, joint = self.config.training, self.config.joint
        number, into = divmod(self.epoch - training.epochs, joint.round_epochs)
        if self.labels is not None and self.epoch >= training.epochs and into == 0 and self.batch == 0:
            if joint.head == "trained":
                self._take_head(begin_head(self.vae, self.hu, self.labels, self.config, round_=number))
            else:
                self.guide = fit_guide(self.vae, self.hu, self.labels, self.config, round_=number)

    def _take_head(self, head: Head) -> None:
        """Let `head` learn beside the VAE from here on."""
        self.guide = head
        self.guide_module = self.team.wrap(head)
        self.head_optimiser = torch.optim.AdamW(
            head.parameters(),
            lr=self.config.training.learning_rate,
            weight_decay=HEAD.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def _rows(self, epoch: int) -> Tensor:
        """Rows of the data that the epoch trains on."""
        if self.labels is not None and epoch >= self.config.training.epochs:
            return torch.as_tensor(self.labels.rows)
        return self.train

    def _batches(self, epoch: int) -> int:
        return math.ceil(len(self._rows(epoch)) / self.config.training.batch_size)

    def _order(self) -> Tensor:
        """This epoch's order of the slices: of seed and epoch alone, so that resuming finds it again."""
        generator = torch.Generator().manual_seed(self.config.training.seed * 100_003 + self.epoch)
        rows = self._rows(self.epoch)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _rate(self) -> float:
        """The learning rate of the batch in hand."""
        training, joint = self.config.training, self.config.joint
        batches, first = self._batches(self.epoch), self.epoch < training.epochs
        epoch, epochs = (
            (self.epoch, training.epochs)
            if first
            else (self.epoch - training.epochs, joint.rounds * joint.round_epochs)
        )
        step = epoch * batches + self.batch
        # Adam's second moment is unreliable in its first steps; a short ramp keeps them small.
        ramp = min(1.0, (step + 1) / 100) if first else joint.round_rate
        cosine = training.schedule == "cosine"
        decay = 0.5 * (1 + math.cos(math.pi * step / (epochs * batches))) if cosine else 1.0
        return training.learning_rate * ramp * decay * 0.5**self.halvings

    def _step(self, order: Tensor) -> None:
        training = self.config.training
        whole = order[self.batch * training.batch_size : (self.batch + 1) * training.batch_size]
        share = self.team.share(len(whole))
        # All of a step's random numbers: the same whoever takes it, and when.
        torch.manual_seed((training.seed * 1_000_003 + self.epoch) * 1_000_003 + self.batch)
        draws = draw(len(whole), training).rows(slice(share.start, share.stop))
        rows = whole[share.start : share.stop].to(self.device, non_blocking=True)
        hu = augment(self.hu[rows].float(), training, draws)
        x = normalise(hu, self.config.model)[:, None]  # (B, 1, 64, 64)
        optimisers = [self.optimiser] + ([self.head_optimiser] if self.head_optimiser else [])
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self._rate()
            # Before the forward pass: CUDA graphs may reuse the last step's gradients from here on.
            optimiser.zero_grad(set_to_none=True)
        if training.compile == "on" and self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        beta = beta_at(self.config, self.epoch + self.batch / self._batches(self.epoch))
        with sharing(share):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
                drawn, posterior = self.module(x, share)
            y = drawn[:, :1]
            inside = None
            if self.masks is not None:
                inside = augment_masks(self.masks[rows].float(), training, draws)
            terms = objective(
                x, y, posterior, self.vae.latent, self.config, beta=beta, masks=inside, features=self.features
            )
        loss, label, guided = terms.loss, *torch.zeros(2, device=self.device)
        if self.guides is not None:
            guided = self._guided_loss(posterior, whole, share)
            if self.lesions is not None:
                lesions = self.lesions.rows(rows)
                inside = augment_masks(lesions.inside(), training, draws)
                weight = self.config.objective.guided_layers
                guided = guided + layer_loss(drawn[:, 1:], inside, lesions, self.config.model, weight)
            if self.config.objective.guided_ratings and self.reader is not None:
                guided = guided + self._rating_loss(posterior, share)
            loss = loss + guided
        if self.guide is not None and self.labels is not None:
            codes = self.vae.latent.code(posterior).to(self.device)
            ratings = None if self.labels.ratings is None else self.ratings[rows]
            guide = self.guide_module if self.head_optimiser else self.guide
            with sharing(share):
                label = guidance(
                    guide,
                    codes,
                    self.targets[rows],
                    self.labels.weights,
                    self.config,
                    ratings=ratings,
                    share=share,
                )
            loss = loss + label
        weight = self.team.weight(share)
        self.team.backward(loss * weight)
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), training.clip_norm or math.inf)
        self.unchecked.append((self.batch, loss.detach(), norm.detach()))
        if self.device.type != "cuda":
            self._check_finite()  # before the weights are touched; asking a GPU each time would hold it up
        for optimiser in optimisers:
            optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.vae)
        parts = (loss, terms.reconstruction, terms.kl.to(self.device), norm, label, guided)
        self.sums += torch.stack([part.detach().to(self.sums.dtype) * weight for part in parts])
        self.batch += 1
        if len(self.unchecked) >= 50:
            self._check_finite()

    def _guided_loss(self, posterior: Distribution, rows: Tensor, share: Share) -> Tensor:
        """The guides' part of the loss over the global batch, whose rows of the data are `rows`."""
        assert self.guides is not None
        with sharing(share):
            latent, values = self.vae.latent, self.guides[rows.to(self.device)]
            code = whole_batch(latent.code(posterior).to(self.device), share)
            coordinates = latent.coordinates(code, values.shape[1])
            centre = latent.coordinate_centre(values.shape[1])
            return guided_loss(coordinates, values, self.config.objective, centre=centre)

    def _rating_loss(self, posterior: Distribution, share: Share) -> Tensor:
        """How far what the reader reads lags behind steps along guides that are ratings.

        And how much such steps change the background, where it is drawn apart. For every second slice of the
        global batch.
        """
        assert self.reader is not None
        config, latent = self.config, self.vae.latent
        # Of the decoder alone: an encoder could make room for a step by drawing the slice itself worse.
        code = latent.code(posterior).to(self.device).detach()
        # Drawn for all of the batch, as all else, and by a generator of its own.
        seed = (config.training.seed * 31 + self.epoch) * 1_000_003 + self.batch
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(2, share.total, generator=generator)[:, share.start : share.stop]
        every, part = slice(share.start % 2, None, 2), 2 / len(code)
        code = code[every]
        if not len(code):
            return torch.zeros((), device=self.device)
        rating, guide, size = draw_rated_steps(config.objective.guided, drawn[:, every].to(self.device))
        half = config.training.precision == "bfloat16"
        # By the running statistics of batch norms, which moved codes shall not change.
        self.vae.decoder.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            with torch.no_grad():
                before = self.vae.draw(code)
                read = self.reader(before[:, :1])
            after = self.vae.draw(latent.with_step(code, guide, size))
            loss = rating_loss(read, self.reader(after[:, :1]), rating, size, config.objective.guided_ratings)
        self.vae.decoder.train()
        if config.model.lesion_layer:
            pixels = before[0, 0].numel()
            loss = loss + config.objective.guided_layers * pixels * (after[:, 1] - before[:, 1]).abs().mean()
        return loss * len(code) * part

    def _check_finite(self) -> None:
        """Raise _NotFinite for the first batch, not yet looked at, whose loss or gradient is not finite."""
        if not self.unchecked:
            return
        numbers, losses, norms = zip(*self.unchecked, strict=True)
        self.unchecked = []
        fine = torch.isfinite(torch.stack(losses)) & torch.isfinite(torch.stack(norms))
        bad = torch.nonzero(~fine).flatten().tolist()
        if not self.team.any(bool(bad)):
            return
        number = numbers[bad[0] if bad else 0]
        size = self.config.training.batch_size
        rows = self._order()[number * size : (number + 1) * size].tolist()
        keys = [f"{key.patient_id}/{key.nodule}/{key.slice}" for key in self.keys.iloc[rows].itertuples()]
        raise _NotFinite(number, keys)

    def _halve_or_stop(self, found: _NotFinite) -> None:
        """Go back to the newest checkpoint at half the rate, if that is the setting; else UserError."""
        epoch = self.epoch + 1
        path = self.run_.folder / "not-finite.json"
        report = {"epoch": epoch, "batch": found.batch + 1, "slices": found.keys}
        self._write(lambda: write_json(path, report))
        what = (
            f"The loss is not a finite number in epoch {epoch}, batch {found.batch + 1} "
            f"(slices {', '.join(found.keys[:4])}, ...; all are in {path}). The last good checkpoint is kept."
        )
        if self.on_nonfinite == "stop":
            raise UserError(
                f"{what} Go on from it at half the learning rate with --resume --set on_nonfinite=halve, or "
                "start again with a lower learning_rate or with clip_norm=10."
            )
        if self.halvings >= HALVINGS:
            raise UserError(
                f"{what} Halving the learning rate {HALVINGS} times did not help: look at these slices, "
                "and at the weights of the objective."
            )
        halvings = self.halvings + 1
        self._go_back()
        self.halvings = halvings
        self._checkpoint()

    def _progress(self, rate: float) -> Progress:
        """Where it is, at `rate` batches a second."""
        epochs, batches = self.config.epochs, self._batches(self.epoch)
        left = sum(self._batches(epoch) for epoch in range(self.epoch, epochs)) - self.batch
        means = self._means(self.batch)
        return Progress(
            epoch=self.epoch + 1,
            epochs=epochs,
            batch=self.batch,
            batches=batches,
            loss=means["loss"],
            kl=means["kl"],
            ssim=self.rows[-1]["validation"]["ssim"] if self.rows else None,
            images_per_second=rate * self.config.training.batch_size,
            seconds_left=left / rate,
        )

    def _row(self) -> dict[str, Any]:
        """The line of metrics.jsonl for the epoch that just ended."""
        batches = self._batches(self.epoch)
        self.sums = self.team.mean(self.sums)
        with torch.compiler.set_stance("force_eager"):
            figures, units, samples = validate(
                self._kept,
                self.held_out,
                self.config,
                masks=self.held_out_masks,
                features=self.features,
            )
        self._write(lambda: _write_samples(self.run_.folder / "samples.png", samples))
        self.batch -= 1  # whose rate the last step had
        rate = self._rate()
        self.batch += 1
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "phase": "vae" if self.guide is None else "joint",
            "seconds": round(self.seconds + time.monotonic() - self.began, 2),
            "learning_rate": rate,
            "beta": beta_at(self.config, self.epoch + 1),
            "train": self._means(batches),
            "validation": figures,
            "units": units,
        }
        if self.halvings:
            row["halvings"] = self.halvings
        if signs := signs_of_collapse(self.config, figures):
            row["collapse"] = signs
        return row

    def _save_epoch(self) -> None:
        self.run_.save_model(self._kept)
        if isinstance(self.guide, Head):
            save_classifier(self.run_, self.guide.classifier)
        self.run_.write_metrics(self.rows)

    @property
    def _kept(self) -> VAE:
        """The VAE that the run is judged by and keeps: of the weights' running mean, where there is one."""
        if self.average is None:
            return self.vae
        assert isinstance(self.average.module, VAE)
        return self.average.module

    def _checkpoint(self) -> None:
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.team.mean(self.sums).tolist(),
            "seconds": self.seconds + time.monotonic() - self.began,
            "halvings": self.halvings,
        }
        guide = None if self.guide is None else self.guide.state_dict()
        self._write(
            lambda: save_checkpoint(
                self.run_, self.vae, self.optimiser, position, guide, self.head_optimiser, self.average
            )
        )
        self.saved_at = time.monotonic()

    def _write(self, work: Callable[[], object]) -> None:
        """Let the first process write."""
        self.team.first_does(work)

    def _no_sums(self) -> Tensor:
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(len(SUMS), dtype=kind, device=self.device)

    def _means(self, batches: int) -> dict[str, float]:
        means = dict(zip(SUMS, (self.sums / max(batches, 1)).tolist(), strict=True))
        if self.guide is None:
            del means["label_loss"]
        if self.guides is None:
            del means["guided_loss"]
        return means


def _write_samples(path: Path, samples: Tensor) -> None:
    rows = [np.hstack(list(row)) for row in samples.cpu().numpy()]
    picture = Image.fromarray((np.vstack(rows) * 255).round().astype(np.uint8))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
