"""Training a VAE on a SliceSet: one loop, all slices in memory, resumable to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import holdout
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path, folder_lock, write_json
from lungvae_core.training.checkpoints import Run, load_checkpoint, save_checkpoint
from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import decoder_column_norms, normalise
from lungvae_core.vae.objective import beta_at, image_metrics, objective

ACTIVE = 0.01  # a dimension is active when its KL exceeds this many nats on average (arXiv 1509.00519)


@dataclass(frozen=True)
class Progress:
    """Where a training is; what the command line and the Train page show."""

    epoch: int  # from 1
    epochs: int
    batch: int  # from 1, within the epoch
    batches: int
    loss: float  # running mean over this epoch
    kl: float  # nats a slice, likewise
    ssim: float | None  # of the last validation
    images_per_second: float
    seconds_left: float


def pick_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or mps; UserError when that hardware is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"There is no device {name!r}. Choose auto, cpu, cuda or mps.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA GPU that PyTorch can use. Choose --device auto or cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("This machine has no Apple GPU that PyTorch can use. Choose --device auto or cpu.")
    return torch.device(name)


def fit(
    config: Config,
    data: SliceSet,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    title: str = "",
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[dict], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Run, bool]:
    """Train on `data` into the run folder `out`; return (the run, whether it reached its last epoch).

    Patients are held out for validation, never slices. When `should_stop` turns true the training stops
    after the batch in hand, with a checkpoint from which `resume` goes on exactly as if never stopped.
    Raises UserError for an `out` that holds another run, one that another process writes, data that differ
    from the run's when resuming, and a loss that is not finite.
    """
    if not resume and (out / "config.json").exists():
        raise UserError(f"{out} already holds a run. Add --resume to go on with it, or choose another --out.")
    if resume and not (out / "config.json").exists():
        raise UserError(f"{out} holds no run to resume. Leave out --resume to start one there.")
    if not resume and out.is_dir() and any(entry.name != ".lock" for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and is not a run. Choose another --out.")
    with folder_lock(out, what="the run"):
        return _Fit(config, data, out, device, resume, title).run(on_progress, on_epoch, should_stop)


class _Fit:
    """One training in progress."""

    def __init__(
        self, config: Config, data: SliceSet, out: Path, device: str, resume: bool, title: str
    ) -> None:
        self.device = pick_device(device)
        if resume:
            self.run_ = Run.open(out)
            if self.run_.info.data.content_hash != data.info.content_hash:
                raise UserError(
                    f"{out} was trained on {self.run_.info.data.name}, but {data.folder} has other content. "
                    "Resume with the data it began with."
                )
        else:
            self.run_ = Run.create(out, config, data, device=str(self.device), title=title)
        self.config = self.run_.config
        training = self.config.training
        torch.manual_seed(training.seed)
        self.vae = VAE(self.config.model).to(self.device)
        if self.device.type != "mps":
            self.vae = self.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.vae.parameters(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        train, held_out = holdout(data.table, fraction=training.validation_fraction, seed=training.seed)
        # int16 HU on the device: a quarter of float32, normalised batch by batch there.
        self.train = torch.tensor(data.slices[train], device=self.device)
        self.held_out = torch.tensor(data.slices[held_out], device=self.device)
        self.keys = data.table.iloc[train][["patient_id", "nodule", "slice"]].reset_index(drop=True)
        self.batches = math.ceil(len(self.train) / training.batch_size)
        self.epoch, self.batch = 0, 0
        self.sums = {"loss": 0.0, "reconstruction": 0.0, "kl": 0.0, "gradient_norm": 0.0}
        self.seconds = 0.0
        if resume and self.run_.has("last.safetensors"):
            position = load_checkpoint(self.run_, self.vae, self.optimiser)
            self.epoch, self.batch = position["epoch"], position["batch"]
            self.sums, self.seconds = position["sums"], position["seconds"]
        # Lines of epochs after the checkpoint belong to a future that is now trained again.
        self.rows = self.run_.metrics()[: self.epoch]
        self.run_.write_metrics(self.rows)

    def run(
        self,
        on_progress: Callable[[Progress], None],
        on_epoch: Callable[[dict], None],
        should_stop: Callable[[], bool],
    ) -> tuple[Run, bool]:
        epochs = self.config.training.epochs
        began, done = time.monotonic(), 0
        reported = 0.0
        while self.epoch < epochs:
            order = self._order()
            self.vae.train()
            while self.batch < self.batches:
                if should_stop():
                    self._checkpoint(time.monotonic() - began)
                    return self.run_, False
                self._step(order)
                done += 1
                now = time.monotonic()
                if now - reported > 0.5 or self.batch == self.batches:
                    reported = now
                    rate = done / (now - began)
                    left = (epochs - self.epoch) * self.batches - self.batch
                    progress = Progress(
                        epoch=self.epoch + 1,
                        epochs=epochs,
                        batch=self.batch,
                        batches=self.batches,
                        loss=self.sums["loss"] / self.batch,
                        kl=self.sums["kl"] / self.batch,
                        ssim=self.rows[-1]["validation"]["ssim"] if self.rows else None,
                        images_per_second=rate * self.config.training.batch_size,
                        seconds_left=left / rate,
                    )
                    write_json(self.run_.folder / "progress.json", asdict(progress))
                    on_progress(progress)
            row = {
                "epoch": self.epoch + 1,
                "seconds": round(self.seconds + time.monotonic() - began, 2),
                "learning_rate": self._rate(self.epoch * self.batches + self.batch - 1),
                "beta": beta_at(self.config, self.epoch + 1),
                "train": {name: value / self.batches for name, value in self.sums.items()},
                "validation": self._validate(),
            }
            self.rows.append(row)
            self.epoch, self.batch = self.epoch + 1, 0
            self.sums = dict.fromkeys(self.sums, 0.0)
            self.run_.save_model(self.vae)
            self.run_.write_metrics(self.rows)
            self._checkpoint(time.monotonic() - began)
            on_epoch(row)
        return self.run_, True

    def _order(self) -> Tensor:
        """This epoch's order of the slices: of seed and epoch alone, so that resuming finds it again."""
        generator = torch.Generator().manual_seed(self.config.training.seed * 100_003 + self.epoch)
        return torch.randperm(len(self.train), generator=generator).to(self.device)

    def _rate(self, step: int) -> float:
        training = self.config.training
        total = training.epochs * self.batches
        # Adam's second moment is unreliable in its first steps; a short ramp keeps them small.
        ramp = min(1.0, (step + 1) / 100)
        decay = 0.5 * (1 + math.cos(math.pi * step / total)) if training.schedule == "cosine" else 1.0
        return training.learning_rate * ramp * decay

    def _step(self, order: Tensor) -> None:
        training = self.config.training
        rows = order[self.batch * training.batch_size : (self.batch + 1) * training.batch_size]
        x = normalise(self.train[rows], self.config.model)[:, None]  # (B, 1, 64, 64)
        if training.flips:
            x = _flip(x)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(self.epoch * self.batches + self.batch)
        autocast = training.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            y, posterior = self.vae(x)
        beta = beta_at(self.config, self.epoch + self.batch / self.batches)
        terms = objective(x, y, posterior, self.vae.latent, self.config, beta=beta)
        loss = float(terms.loss.detach())
        if not math.isfinite(loss):
            keys = ", ".join(
                f"{key.patient_id}/{key.nodule}/{key.slice}"
                for key in self.keys.iloc[rows[:4].cpu().numpy()].itertuples()
            )
            raise UserError(
                f"The loss is not a finite number in epoch {self.epoch + 1}, batch {self.batch + 1} "
                f"(slices {keys}, ...). The last checkpoint is kept; lower the learning rate "
                "or set clip_norm and start again."
            )
        self.optimiser.zero_grad(set_to_none=True)
        terms.loss.backward()
        limit = training.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), limit)
        self.optimiser.step()
        self.batch += 1
        self.sums["loss"] += loss
        self.sums["reconstruction"] += float(terms.reconstruction)
        self.sums["kl"] += float(terms.kl)
        self.sums["gradient_norm"] += float(norm)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Figures of the held-out patients' slices, reconstructed from their codes."""
        figures, samples = validate(self.vae, self.held_out)
        _write_samples(self.run_.folder / "samples.png", samples)
        return figures

    def _checkpoint(self, seconds: float) -> None:
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "seconds": self.seconds + seconds,
        }
        save_checkpoint(self.run_, self.vae, self.optimiser, position)


@torch.no_grad()
def validate(vae: VAE, hu: Tensor, *, batch_size: int = 256) -> tuple[dict[str, float], Tensor]:
    """Mean SSIM, MSE, MAE (0..1 scale), KL in nats and active units of slices hu (N, 64, 64).

    Also (2, 8, 64, 64): eight slices spread over the set, and their reconstructions.
    """
    vae.eval()
    columns: dict[str, list[Tensor]] = {"ssim": [], "mse": [], "mae": [], "kl": []}
    units, alpha0 = [], []
    for start in range(0, len(hu), batch_size):
        x = normalise(hu[start : start + batch_size], vae.config)[:, None]
        posterior = vae.posterior(x)
        y = vae.reconstruct(vae.latent.code(posterior))
        for name, values in image_metrics(x, y).items():
            columns[name].append(values)
        columns["kl"].append(vae.latent.kl(posterior))
        units.append(vae.latent.kl_per_unit(posterior))
        if vae.config.prior == "dirichlet":
            alpha0.append(posterior.concentration.sum(1))  # type: ignore[attr-defined]
    figures = {name: float(torch.cat(values).mean()) for name, values in columns.items()}
    per_unit = torch.cat(units).mean(0)
    figures["active_units"] = int((per_unit > ACTIVE).sum())
    figures["dead_columns"] = int((decoder_column_norms(vae.decoder) < 1e-3).sum())
    if alpha0:
        figures["alpha0"] = float(torch.cat(alpha0).mean())
    chosen = torch.linspace(0, len(hu) - 1, min(8, len(hu))).long()
    x = normalise(hu[chosen], vae.config)[:, None]
    y = vae.reconstruct(vae.latent.code(vae.posterior(x)))
    return figures, torch.stack([x[:, 0], y[:, 0]])


def _flip(x: Tensor) -> Tensor:
    """Each image mirrored left-right and up-down with probability one half."""
    flips = torch.rand(2, len(x), 1, 1, 1).to(x.device) < 0.5
    x = torch.where(flips[0], x.flip(3), x)
    return torch.where(flips[1], x.flip(2), x)


def _write_samples(path: Path, samples: Tensor) -> None:
    rows = [np.hstack(list(row)) for row in samples.cpu().numpy()]
    picture = Image.fromarray((np.vstack(rows) * 255).round().astype(np.uint8))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
