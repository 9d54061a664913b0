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
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.distributions.distribution import Distribution
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.files import LEFTOVER, atomic_path, folder_lock, remove_leftovers, write_json
from lungvae_core.training.adversary import PatchDiscriminator, adversarial_loss, discriminator_loss
from lungvae_core.training.augment import Draws, augment, augment_masks, draw
from lungvae_core.training.checkpoints import (
    CHECKPOINT,
    FEATURES,
    READER,
    START,
    TRAINED,
    Run,
    check_out,
    default_split,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from lungvae_core.training.classifier import Classifier, save_classifier
from lungvae_core.training.cnn import Watch
from lungvae_core.training.device import (
    compile_networks,
    keep_freed_memory,
    memory_error,
    pick_device,
    settle,
)
from lungvae_core.training.features import Features, fit_features, load_features
from lungvae_core.training.fit_data import FitData, on_device
from lungvae_core.training.guided import guided_loss
from lungvae_core.training.joint import HEAD, Head, begin_guide, empty_guide, guidance
from lungvae_core.training.lesions import layer_loss
from lungvae_core.training.parallel import Team
from lungvae_core.training.pca_start import start_from_pca
from lungvae_core.training.reader import (
    detail_losses,
    draw_rated_steps,
    draw_view,
    fit_reader,
    load_reader,
    rating_losses,
    reads_ratings,
)
from lungvae_core.training.validate import signs_of_collapse, validate
from lungvae_core.training.weights_file import save_tensors
from lungvae_core.vae.config import OF_RATINGS, Config, override
from lungvae_core.vae.lesion import PER_RATING, LesionDecoder, added_density, density_of
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import RatingReader, ReadingEncoder, normalise, still_statistics
from lungvae_core.vae.objective import Terms, beta_at, objective
from lungvae_core.vae.sync import Share, sharing, whole_batch

# Of an epoch's batches.
SUMS = ("loss", "reconstruction", "kl", "gradient_norm", "label_loss", "guided_loss", "discriminator_loss")
_FIRST: dict[str, Any] = {"epoch": 0, "batch": 0, "seconds": 0.0, "halvings": 0, "sums": []}
HALVINGS = 8  # of the learning rate, before a loss that is still not finite ends the training
REPORT_SECONDS = 0.5  # between reports of the progress
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


class _Stopped(Exception):
    """The training was stopped while a network that it needs was fitted, before its first step."""


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
    start: Run | None = None,
    until: int | None = None,
    on_nonfinite: str | None = None,
    on_preparation: Callable[[str, float], None] = lambda what, share: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[dict], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Run, bool]:
    """Train on `data` into the run folder `out`; return (the run, whether it reached its last epoch).

    Patients are held out for validation, never slices: those of `split` (training rows, held-out rows), by
    default a share of all patients. Networks that the objective needs are fitted first; `on_preparation` gets
    their name and the share, 0..1, that is done. When `should_stop` returns true the training stops after
    the current batch, with a checkpoint from which `resume` continues exactly as if never stopped; likewise
    after epoch `until`. A resumed run keeps its configuration, except `on_nonfinite`. A run with `start`
    begins with the weights of that one, trained on the same data, and holds out the same patients. Under
    torchrun all processes train one model, and `batch_size` is their total.

    Raises UserError for an `out` that holds another run, one that another process writes, data that differ
    from the run's when resuming, a start that does not fit, a loss that is not finite, and a device that runs
    out of memory.
    """
    if start is not None:
        config, split = _continued(start, config, data)
    team = Team(pick_device(device))
    if team.device.type == "cpu":
        keep_freed_memory()

    with contextlib.ExitStack() as held:
        team.first_does(lambda: _take(out, resume, held))
        if resume:
            run = _resumed(out, data)
            config, split = run.config, run.split(data.table)
        try:
            # Before anything is written: it may refuse the data.
            train, held_out = _whole_patients(split or default_split(config, data.table), data)
            read = on_device(config, data, train, held_out, team.device)
            if resume:
                begins = run.info.start is not None and not run.has(CHECKPOINT)
                run_and_start = run, run.load_start() if begins else None
            else:
                run_and_start = _created(out, config, data, title, split, start, team)
            fitting = _Fit(*run_and_start, read, team, on_preparation, should_stop)
            del run_and_start  # as large as the model
            return fitting.train(until, on_nonfinite, on_progress, on_epoch)
        except _Stopped:
            return Run.open(out), False
        except (RuntimeError, MemoryError) as error:
            if (refusal := memory_error(error, team.device, config.training.batch_size)) is None:
                raise
            raise refusal from error


def _take(out: Path, resume: bool, held: contextlib.ExitStack) -> None:
    """Lock the run's folder, once it is clear that it may be written, and tidy it after a killed training."""
    check_out(out, "config.json", "run", resume=resume, may_be_there=_is_ours)
    held.enter_context(folder_lock(out, what="the run"))
    remove_leftovers(out, TRAINED)


def _created(
    out: Path,
    config: Config,
    data: SliceSet,
    title: str,
    split: tuple[np.ndarray, np.ndarray] | None,
    start: Run | None,
    team: Team,
) -> tuple[Run, VAE | None]:
    """(a new run, the VAE with whose weights it begins)."""
    weights = None if start is None else _weights_of(start, config)
    team.first_does(
        lambda: Run.create(
            out,
            settle(config, team.device),
            data,
            device=str(team.device),
            title=title,
            processes=team.size,
            split=split,
            start=None if start is None else start.as_start(),
            weights=weights,
        )
    )
    return Run.open(out), weights


def _is_ours(name: str) -> bool:
    """Whether a training that was killed before it had a configuration may have left a file of that name."""
    return name in (".lock", START) or (
        name.startswith((".config.json.", f".{START}.")) and name.endswith(LEFTOVER)
    )


def _continued(start: Run, config: Config, data: SliceSet) -> tuple[Config, tuple[np.ndarray, np.ndarray]]:
    """(configuration, split) of a training that begins with the weights of `start`.

    Raises UserError where the model or the data are others. What ratings add to the density may change, and
    their gain: the same images have other codes and other weights then.
    """
    theirs, ours = (each.model.model_dump(exclude=set(OF_RATINGS)) for each in (start.config, config))
    if others := [f"{name}={theirs[name]}" for name in ours if ours[name] != theirs[name]]:
        raise UserError(
            f"The model {start.folder} has other settings than this training: {', '.join(others)}. Choose "
            f"its preset, {start.config.preset}, and set these."
        )
    if shaped := _shaped_unlike(start.config, config):
        raise UserError(
            f"The codes of {start.folder} were shaped by {', '.join(shaped)}, and those of this training "
            "would be too, without its settings saying so. Choose the same settings."
        )
    if start.info.data.content_hash != data.info.content_hash:
        raise UserError(
            f"{start.folder} was trained on {start.info.data.name}, but {data.folder} has other content. Its "
            "training can go on with the same data only, so that the same patients stay held out."
        )
    if not start.metrics():
        raise UserError(f"{start.folder} has not been trained for an epoch yet. Go on with it by --resume.")
    return override(config, {"pca_start": False}), start.split(data.table)


def _weights_of(start: Run, config: Config) -> VAE:
    """The VAE of `start` as this training has it: the same images, of other codes where settings changed."""
    vae = VAE(config.model)
    theirs = start.load_model().state_dict()
    vae.load_state_dict(vae.state_dict() | {name: theirs[name] for name in theirs if PER_RATING not in name})
    _set_density(vae, config)
    if isinstance(vae.decoder, LesionDecoder):
        vae.decoder.regain(start.config.model.rating_gain)
    return vae.eval()


def _set_density(vae: VAE, config: Config) -> None:
    """Set what ratings add to the density, which encoder and decoder have to agree on."""
    for part in (vae.encoder, vae.decoder):
        if isinstance(part, ReadingEncoder | LesionDecoder) and part.per_rating is not None:
            part.per_rating.copy_(density_of(config.objective.guided, config.model))


def _shaped_unlike(start: Config, config: Config) -> list[str]:
    """What shaped the weights of a start, but is not in the configuration that continues with them."""
    theirs, ours = start.objective, config.objective
    shaped = {
        f"guides ({', '.join(theirs.guided)})": bool(theirs.guided) and theirs.guided != ours.guided,
        "labels": start.labels_shape_codes and not config.labels_shape_codes,
        "labels of held-out patients": start.labels_leak and not config.labels_leak,
        "a discriminator": bool(theirs.adversarial) and not ours.adversarial,
    }
    return [what for what, missing in shaped.items() if missing]


def _resumed(out: Path, data: SliceSet) -> Run:
    """The run to continue; UserError when it began with other data."""
    run = Run.open(out)
    if run.info.data.content_hash != data.info.content_hash:
        raise UserError(
            f"{out} was trained on {run.info.data.name}, but {data.folder} has other content. "
            "Resume with the data it began with."
        )
    return run


def _whole_patients(split: tuple[np.ndarray, np.ndarray], data: SliceSet) -> list[np.ndarray]:
    """All rows of the patients of each side, in the table's order: those that the run will find again."""
    patients = data.table["patient_id"].astype(str)
    return [np.flatnonzero(patients.isin(set(patients.iloc[side]))) for side in split]


class _Position:
    """How far a training is, and the sums of its epoch's batches: what a checkpoint restores."""

    def __init__(self, saved: dict[str, Any], device: torch.device) -> None:
        """From a checkpoint's state."""
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.epoch: int = saved["epoch"]
        self.batch: int = saved["batch"]
        self.halvings: int = saved["halvings"]
        self.sums = torch.zeros(len(SUMS), dtype=kind, device=device)
        before = torch.tensor(saved["sums"], dtype=kind, device=device)
        self.sums[: len(before)] = before  # those of earlier versions have fewer
        self.saved_at = time.monotonic()
        self._began = self.saved_at - saved["seconds"]
        self.unchecked: list[tuple[int, Tensor, Tensor]] = []  # batch, loss, norm of the gradient

    def elapsed(self) -> float:
        """The seconds of the whole training."""
        return time.monotonic() - self._began

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, torch.zeros_like(self.sums)


class _Batch(NamedTuple):
    """A step's slices, of which this process has a share, and the random numbers of that share."""

    whole: Tensor  # rows of the data
    share: Share
    rows: Tensor  # of the share, on the device
    draws: Draws
    x: Tensor  # (B, 1, 64, 64)


class _Fit:
    """One training in progress."""

    def __init__(
        self,
        run: Run,
        start: VAE | None,
        data: FitData,
        team: Team,
        on_preparation: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.run_, self.config, self.data = run, run.config, data
        self.team, self.device = team, team.device
        self.on_preparation, self.should_stop = on_preparation, should_stop
        training = self.config.training
        self.features = self._features()
        self.reader = self._reader(start)
        self.vae = self._new_vae(start)
        self.average: AveragedModel | None = None
        if training.ema:
            self.average = AveragedModel(
                self.vae, multi_avg_fn=get_ema_multi_avg_fn(training.ema), use_buffers=True
            )
        if training.compile == "on":
            compile_networks(self.vae, self.device)
        self.optimisers = {"optimiser": self._adam(self.vae, training.weight_decay)}
        self.module = team.wrap(self.vae)
        # A discriminator and a guide, and the modules through which their gradients are averaged.
        self.discriminator: PatchDiscriminator | None = None
        self.discriminator_module: nn.Module | None = None
        if self.config.objective.adversarial:
            self.discriminator = PatchDiscriminator(training.seed).to(self.device)
            self.optimisers["discriminator_optimiser"] = self._adam(self.discriminator, 0.0)
            self.discriminator_module = team.wrap(self.discriminator)
        self.guide: Classifier | Head | None = None
        self.guide_module: nn.Module | None = None
        self.at = _Position(_FIRST, self.device)
        if self.run_.has(CHECKPOINT):
            self._go_back()
        # Epochs after the checkpoint are trained again.
        self.rows = self.run_.metrics()[: self.at.epoch]
        self.team.first_does(lambda: self.run_.write_metrics(self.rows))

    def _features(self) -> Features | None:
        """The fixed network of the feature loss, if there is one."""
        truth, data = self.data.truth, self.data
        if truth is None:
            return None
        self._prepare(
            FEATURES,
            "the network of the feature loss",
            lambda watch: fit_features(self.run_, data.hu.cpu()[data.train].numpy(), truth, watch),
        )
        return load_features(self.run_, self.device)

    def _reader(self, start: VAE | None) -> RatingReader | None:
        """The fixed networks that read ratings, if the objective or the encoder needs them."""
        scores = self.data.guides
        if scores is None or not reads_ratings(self.config):
            return None

        def fit_or_copy(watch: Watch) -> None:
            if start is not None and isinstance(start.encoder, ReadingEncoder):
                save_tensors(self.run_.folder / READER, start.encoder.reader.state_dict(), {})
            else:
                fit_reader(self.run_, self.data.hu.cpu().numpy(), scores.cpu().numpy(), watch)

        self._prepare(READER, "the networks that read ratings", fit_or_copy)
        return load_reader(self.run_, self.device).train()  # one view is enough for a step

    def _prepare(self, name: str, what: str, fit_it: Callable[[Watch], None]) -> None:
        """Let the first process fit a network that the run does not have yet; _Stopped in all if asked to."""
        if self.run_.has(name):
            return
        looked = time.monotonic()

        def watch(share: float) -> None:
            nonlocal looked
            if (now := time.monotonic()) - looked > REPORT_SECONDS:
                looked = now
                if self.should_stop():
                    raise _Stopped
                at = {"epoch": 1, "batch": 0, "batches": 1, "preparing": what, "prepared": share}
                write_json(self.run_.folder / "progress.json", at)
                self.on_preparation(what, share)

        def stopped() -> bool:
            try:
                fit_it(watch)
            except _Stopped:
                return True
            return False

        if self.team.any(bool(self.team.first_does(stopped))):
            raise _Stopped

    def _new_vae(self, start: VAE | None) -> VAE:
        """The VAE as at the very start; where there is a checkpoint, its weights are not set yet."""
        training, data = self.config.training, self.data
        torch.manual_seed(training.seed)
        vae = VAE(self.config.model)
        if isinstance(vae.decoder, LesionDecoder):
            assert data.guide_table is not None
            vae.decoder.table.copy_(data.guide_table)
        if isinstance(vae.encoder, ReadingEncoder):
            assert self.reader is not None
            vae.encoder.reader.load_state_dict(self.reader.state_dict())
        _set_density(vae, self.config)
        if start is not None:
            vae.load_state_dict(start.state_dict())
        elif training.pca_start and not self.run_.has(CHECKPOINT):
            guided = len(self.config.objective.guided)
            hu = data.hu[data.train.to(self.device)]
            layers = None if data.lesions is None else data.layers
            start_from_pca(vae, hu, guided=guided, training=training, layers=layers)
        vae = vae.to(self.device)
        if self.device.type != "mps":
            vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return vae

    def _adam(self, network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=self.config.training.learning_rate,
            weight_decay=weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    @property
    def _networks(self) -> dict[str, nn.Module]:
        """The networks of a checkpoint, by their names in it."""
        networks = {
            "model": self.vae,
            "average": self.average,
            "discriminator": self.discriminator,
            "guide": self.guide,
        }
        return {name: network for name, network in networks.items() if network is not None}

    def _go_back(self) -> None:
        """To the newest checkpoint."""
        tensors, saved = load_checkpoint(self.run_)
        guide = tensors.get("guide")
        self._take_guide(None if guide is None else empty_guide(self.config, guide, self.device))
        restore_checkpoint(self.run_, tensors, self._networks, self.optimisers)
        self.at = _Position({**saved, "halvings": max(self.at.halvings, saved["halvings"])}, self.device)

    def _take_guide(self, guide: Classifier | Head | None) -> None:
        """Train with `guide` from here on; a head trains with the VAE."""
        self.guide = self.guide_module = guide
        self.optimisers.pop("head_optimiser", None)
        if isinstance(guide, Head):
            self.guide_module = self.team.wrap(guide)
            self.optimisers["head_optimiser"] = self._adam(guide, HEAD.weight_decay)

    def train(
        self,
        until: int | None,
        on_nonfinite: str | None,
        on_progress: Callable[[Progress], None],
        on_epoch: Callable[[dict], None],
    ) -> tuple[Run, bool]:
        """As `fit`."""
        last = min(self.config.epochs, until or self.config.epochs)
        if self.at.epoch == 0 and self.at.batch == 0 and last > 0:
            self._checkpoint()  # so that even the first batch has one to go back to
            self.team.first_does(lambda: (self.run_.folder / START).unlink(missing_ok=True))
        while self.at.epoch < last:
            try:
                if not self._epoch(on_progress):
                    return self.run_, False
            except _NotFinite as failure:
                self._halve_or_stop(failure, on_nonfinite or self.config.training.on_nonfinite)
                continue
            row = self._row()
            self.rows.append(row)
            self.at.next_epoch()
            self.team.first_does(self._save_epoch)
            self._checkpoint()
            if self.team.first:
                on_epoch(row)
        return self.run_, self.at.epoch >= self.config.epochs

    def _epoch(self, on_progress: Callable[[Progress], None]) -> bool:
        """Train to the end of the current epoch; return False if asked to stop before."""
        self._begin_round()
        order, batches = self._order(), self._batches(self.at.epoch)
        began, done, reported = time.monotonic(), 0, 0.0
        self.vae.train()
        if isinstance(self.guide, Head):
            self.guide.train()
        while self.at.batch < batches:
            if self._stop_requested():
                self._check_finite()
                self._checkpoint()
                return False
            self._step(order)
            done += 1
            now = time.monotonic()
            if self.team.first and (now - reported > REPORT_SECONDS or self.at.batch == batches):
                reported = now
                progress = self._progress(done / (now - began))
                if math.isfinite(progress.loss):  # else the next look at the losses ends the epoch
                    write_json(self.run_.folder / "progress.json", asdict(progress))
                    on_progress(progress)
            # In step on every process, which each would time differently.
            if self.at.batch % 64 == 0 and self.team.any(now - self.at.saved_at > CHECKPOINT_SECONDS):
                self._check_finite()
                self._checkpoint()
        self._check_finite()
        return True

    def _stop_requested(self) -> bool:
        if self.team.size == 1:
            return self.should_stop()
        return self.at.batch % 8 == 0 and self.team.any(self.should_stop())

    def _begin_round(self) -> None:
        """At the first batch of a joint round: a new guide."""
        number, into = divmod(self.at.epoch - self.config.training.epochs, self.config.joint.round_epochs)
        if self.data.labels is not None and number >= 0 and into == 0 and self.at.batch == 0:
            guide = begin_guide(self.vae, self.data.hu, self.data.labels, self.config, round_=number)
            self._take_guide(guide)

    def _rows(self, epoch: int) -> Tensor:
        """Rows of the data that the epoch trains on."""
        if self.data.labels is not None and epoch >= self.config.training.epochs:
            return torch.as_tensor(self.data.labels.rows)
        return self.data.train

    def _batches(self, epoch: int) -> int:
        return math.ceil(len(self._rows(epoch)) / self.config.training.batch_size)

    def _order(self) -> Tensor:
        """This epoch's order of the slices: of seed and epoch alone, so that resuming finds it again."""
        generator = torch.Generator().manual_seed(self.config.training.seed * 100_003 + self.at.epoch)
        rows = self._rows(self.at.epoch)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _rate(self, before: int = 0) -> float:
        """The learning rate of the current batch, or of one `before` it."""
        training, joint = self.config.training, self.config.joint
        batches, first = self._batches(self.at.epoch), self.at.epoch < training.epochs
        before_phase = 0 if first else training.epochs
        epochs = training.epochs if first else joint.rounds * joint.round_epochs
        step = (self.at.epoch - before_phase) * batches + self.at.batch - before
        # Adam's second moment is unreliable in its first steps; a short ramp keeps them small.
        ramp = min(1.0, (step + 1) / 100) if first else joint.round_rate
        cosine = training.schedule == "cosine"
        decay = 0.5 * (1 + math.cos(math.pi * step / (epochs * batches))) if cosine else 1.0
        return training.learning_rate * ramp * decay * 0.5**self.at.halvings

    def _step(self, order: Tensor) -> None:
        batch = self._draw(order)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = self._rate()
            # Before the forward pass: CUDA graphs may reuse the last step's gradients from here on.
            optimiser.zero_grad(set_to_none=True)
        drawn, posterior, terms = self._forward(batch)
        guided = self._guided_loss(batch, drawn, posterior)
        label = self._label_loss(batch, posterior)
        loss = terms.loss + guided + label
        pull, discriminator = self._adversarial_losses(batch, drawn, terms)
        weight = self.team.weight(batch.share)
        norm = self._update(loss + pull + discriminator, weight)
        parts = (loss, terms.reconstruction, terms.kl.to(self.device), norm, label, guided, discriminator)
        self.at.sums += torch.stack([part.detach().to(self.at.sums.dtype) * weight for part in parts])
        self.at.batch += 1
        if len(self.at.unchecked) >= 50:
            self._check_finite()

    def _draw(self, order: Tensor) -> _Batch:
        """The current batch, with all of a step's random numbers, which depend on its number alone."""
        training = self.config.training
        whole = order[self.at.batch * training.batch_size : (self.at.batch + 1) * training.batch_size]
        share = self.team.share(len(whole))
        torch.manual_seed((training.seed * 1_000_003 + self.at.epoch) * 1_000_003 + self.at.batch)
        draws = draw(len(whole), training).rows(slice(share.start, share.stop))
        rows = whole[share.start : share.stop].to(self.device, non_blocking=True)
        hu = augment(self.data.hu[rows].float(), training, draws)
        return _Batch(whole, share, rows, draws, normalise(hu, self.config.model)[:, None])

    def _forward(self, batch: _Batch) -> tuple[Tensor, Distribution, Terms]:
        """(the VAE's images and layers, its posterior, its own part of the loss)."""
        training, masks = self.config.training, self.data.masks
        if training.compile == "on" and self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        beta = beta_at(self.config, self.at.epoch + self.at.batch / self._batches(self.at.epoch))
        with sharing(batch.share):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
                drawn, posterior = self.module(batch.x, batch.share)
            inside = None
            if masks is not None:
                inside = augment_masks(masks[batch.rows].float(), training, batch.draws)
            terms = objective(
                batch.x,
                drawn[:, :1],
                posterior,
                self.vae.latent,
                self.config,
                beta=beta,
                masks=inside,
                features=self.features,
            )
        return drawn, posterior, terms

    def _guided_loss(self, batch: _Batch, drawn: Tensor, posterior: Distribution) -> Tensor:
        """The part of the loss of the guides, the lesion layer and steps along ratings; 0 without guides."""
        guides, lesions, latent = self.data.guides, self.data.lesions, self.vae.latent
        weights = self.config.objective
        if guides is None:
            return torch.zeros((), device=self.device)
        with sharing(batch.share):
            values = guides[batch.whole.to(self.device)]
            code = whole_batch(latent.code(posterior).to(self.device), batch.share)
            own, free = latent.coordinates(code, values.shape[1])
            own = own - latent.coordinate_centre(values.shape[1])
            if isinstance(self.vae.decoder, LesionDecoder) and self.vae.decoder.per_rating is not None:
                # The slice's density is that of the guide and of the ratings together.
                added = added_density(own, self.vae.decoder.per_rating)
                own = own + F.pad(added, (0, own.shape[1] - added.shape[1]))
            loss = guided_loss((own, free), values, weights)
        if lesions is not None:
            lesions = lesions.rows(batch.rows)
            inside = augment_masks(lesions.inside(), self.config.training, batch.draws)
            layers, model = drawn[:, 1:], self.config.model
            loss = loss + layer_loss(layers, inside, lesions, model, weights.guided_layers)
        if weights.guided_ratings and self.reader is not None:
            with sharing(batch.share):
                loss = loss + self._rating_loss(posterior, batch.share)
        return loss

    def _adversarial_losses(self, batch: _Batch, drawn: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
        """(the discriminator's part of the VAE's loss, its own loss); 0 without a discriminator."""
        if self.discriminator is None or self.discriminator_module is None:
            nothing = torch.zeros((), device=self.device)
            return nothing, nothing
        own = discriminator_loss(self.discriminator_module, batch.x, drawn[:, :1])
        share = batch.share
        with sharing(share):
            of_batch = (share.stop - share.start) / share.total
            pull = adversarial_loss(self.discriminator, drawn, terms.loss, of_batch=of_batch)
        return self.config.objective.adversarial * pull, own

    def _label_loss(self, batch: _Batch, posterior: Distribution) -> Tensor:
        """The part of the loss of a joint round's labels; 0 before the first round."""
        labels, targets, ratings = self.data.labels, self.data.targets, self.data.ratings
        if self.guide_module is None or labels is None or targets is None:
            return torch.zeros((), device=self.device)
        codes = self.vae.latent.code(posterior).to(self.device)
        with sharing(batch.share):
            return guidance(
                self.guide_module,
                codes,
                targets[batch.rows],
                labels.weights,
                self.config,
                ratings=None if ratings is None else ratings[batch.rows],
                share=batch.share,
            )

    def _update(self, loss: Tensor, weight: float) -> Tensor:
        """Change the weights by the gradient of the loss; return its norm before it was clipped."""
        self.team.backward(loss * weight)
        clip_norm = self.config.training.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), clip_norm)
        self.at.unchecked.append((self.at.batch, loss.detach(), norm.detach()))
        if self.device.type != "cuda":
            self._check_finite()  # before the weights change; each check would hold up a GPU
        for optimiser in self.optimisers.values():
            optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.vae)
        return norm

    def _rating_loss(self, posterior: Distribution, share: Share) -> Tensor:
        """How far the reader's predictions lag behind steps along guides that are ratings.

        And how much fine detail such steps add, and how much they change the background, where it is drawn
        separately. For every second slice of the global batch.
        """
        assert self.reader is not None
        config, latent = self.config, self.vae.latent
        # For the decoder only: an encoder could make room for a step by encoding the slice itself worse.
        code = latent.code(posterior).to(self.device).detach()
        # Drawn for the global batch, like all random numbers, by a generator of its own.
        seed = (config.training.seed * 31 + self.at.epoch) * 1_000_003 + self.at.batch
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(2, share.total, generator=generator)[:, share.start : share.stop]
        only = int(torch.randint(config.model.rating_networks, (), generator=generator))
        view, weight = draw_view(generator), config.objective.guided_ratings
        every, part = slice(share.start % 2, None, 2), 2 / len(code)
        code = code[every]  # of several processes one may get none, and takes part in the batch norms
        rating, guide, size = draw_rated_steps(config.objective.guided, drawn[:, every].to(self.device))
        half = config.training.precision == "bfloat16"
        # Moved codes shall not change the running statistics. Normalised by these instead of the batch's, the
        # loss would reward weights that outrun them, which no other part of the loss sees.
        with (
            still_statistics(self.vae.decoder),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            with torch.no_grad():
                before = self.vae.draw(code)
                read = self.reader(view(before[:, :1]), only)
            after = self.vae.draw(latent.with_step(code, guide, size))
            change = self.reader(view(after[:, :1]), only) - read
            costs = rating_losses(change, rating, size, weight)
        costs = costs + detail_losses(before[:, :1], after[:, :1], weight)
        if config.model.lesion_layer:
            costs = costs + config.objective.guided_layers * (after[:, 1] - before[:, 1]).abs().sum((1, 2))
        return costs.sum() * part

    def _check_finite(self) -> None:
        """Raise _NotFinite for the first batch, not yet looked at, whose loss or gradient is not finite."""
        if not self.at.unchecked:
            return
        numbers, losses, norms = zip(*self.at.unchecked, strict=True)
        self.at.unchecked = []
        fine = torch.isfinite(torch.stack(losses)) & torch.isfinite(torch.stack(norms))
        bad = torch.nonzero(~fine).flatten().tolist()
        if not self.team.any(bool(bad)):
            return
        number = numbers[bad[0] if bad else 0]
        size = self.config.training.batch_size
        rows = self._order()[number * size : (number + 1) * size].tolist()
        keys = [
            f"{key.patient_id}/{key.nodule}/{key.slice}" for key in self.data.keys.iloc[rows].itertuples()
        ]
        raise _NotFinite(number, keys)

    def _halve_or_stop(self, failure: _NotFinite, on_nonfinite: str) -> None:
        """Go back to the newest checkpoint at half the rate, if that is the setting; else UserError."""
        epoch = self.at.epoch + 1
        path = self.run_.folder / "not-finite.json"
        report = {"epoch": epoch, "batch": failure.batch + 1, "slices": failure.keys}
        self.team.first_does(lambda: write_json(path, report))
        what = (
            f"The loss is not a finite number in epoch {epoch}, batch {failure.batch + 1} "
            f"(slices {', '.join(failure.keys[:4])}, ...; all are in {path}). "
            "The last good checkpoint is kept."
        )
        if on_nonfinite == "stop":
            raise UserError(
                f"{what} Go on from it at half the learning rate with --resume --set on_nonfinite=halve, or "
                "start again with a lower learning_rate or with clip_norm=10."
            )
        if self.at.halvings >= HALVINGS:
            raise UserError(
                f"{what} Halving the learning rate {HALVINGS} times did not help: look at these slices, "
                "and at the weights of the objective."
            )
        self.at.halvings += 1
        self._go_back()
        self._checkpoint()

    def _progress(self, rate: float) -> Progress:
        """Where it is, at `rate` batches a second."""
        epochs, batches = self.config.epochs, self._batches(self.at.epoch)
        left = sum(self._batches(epoch) for epoch in range(self.at.epoch, epochs)) - self.at.batch
        means = self._means(self.at.batch)
        return Progress(
            epoch=self.at.epoch + 1,
            epochs=epochs,
            batch=self.at.batch,
            batches=batches,
            loss=means["loss"],
            kl=means["kl"],
            ssim=self.rows[-1]["validation"]["ssim"] if self.rows else None,
            images_per_second=rate * self.config.training.batch_size,
            seconds_left=left / rate,
        )

    def _row(self) -> dict[str, Any]:
        """The line of metrics.jsonl for the epoch that just ended."""
        held_out, masks = self.data.held_out, self.data.masks
        self.at.sums = self.team.mean(self.at.sums)
        with torch.compiler.set_stance("force_eager"):
            figures, units, samples = validate(
                self._kept,
                self.data.hu[held_out],
                self.config,
                masks=None if masks is None else masks[held_out],
                features=self.features,
            )
        self.team.first_does(lambda: _write_samples(self.run_.folder / "samples.png", samples))
        row: dict[str, Any] = {
            "epoch": self.at.epoch + 1,
            "phase": "vae" if self.guide is None else "joint",
            "seconds": round(self.at.elapsed(), 2),
            "learning_rate": self._rate(1),  # of the last step
            "beta": beta_at(self.config, self.at.epoch + 1),
            "train": self._means(self._batches(self.at.epoch)),
            "validation": figures,
            "units": units,
        }
        if self.at.halvings:
            row["halvings"] = self.at.halvings
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
        saved = {
            "epoch": self.at.epoch,
            "batch": self.at.batch,
            "sums": self.team.mean(self.at.sums).tolist(),
            "seconds": self.at.elapsed(),
            "halvings": self.at.halvings,
        }
        self.team.first_does(lambda: save_checkpoint(self.run_, self._networks, self.optimisers, saved))
        self.at.saved_at = time.monotonic()

    def _means(self, batches: int) -> dict[str, float]:
        means = dict(zip(SUMS, (self.at.sums / max(batches, 1)).tolist(), strict=True))
        if self.guide is None:
            del means["label_loss"]
        if self.data.guides is None:
            del means["guided_loss"]
        if self.discriminator is None:
            del means["discriminator_loss"]
        return means


def _write_samples(path: Path, samples: Tensor) -> None:
    rows = [np.hstack(list(row)) for row in samples.cpu().numpy()]
    picture = Image.fromarray((np.vstack(rows) * 255).round().astype(np.uint8))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
