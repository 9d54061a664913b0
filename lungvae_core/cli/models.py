"""`lungvae train`, `encode`, `classify`, `map`, `predict`, `models` and `presets`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError

RunFolder = Annotated[Path, typer.Argument(help="A run's or model's folder.")]
Data = Annotated[Path, typer.Option(help="A data set's folder.")]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    preset: Annotated[str, typer.Option(help="gvae, dirvae, paper-gvae or paper-dirvae.")] = "dirvae",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as beta=0.3; repeatable.")
    ] = None,
    title: Annotated[str, typer.Option(help="The model's name in the app; by default the folder's.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for all.")] = 0,
    finish: Annotated[
        bool, typer.Option(help="Afterwards encode, classify and map, so that the app can show the model.")
    ] = True,
) -> None:
    """Train a VAE; Ctrl-C stops after the batch in hand, and --resume goes on from there."""
    from rich.progress import BarColumn, Progress, TextColumn

    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training import fit as training
    from lungvae_core.vae.config import override
    from lungvae_core.vae.config import preset as preset_named

    config = preset_named(preset)
    changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    config = override(config, {**changes, **_settings(set_ or [])})
    if resume and (changes or set_):
        raise UserError("A resumed run keeps its settings: leave out --epochs, --seed and --set.")
    _use_threads(threads)
    device = str(training.pick_device(device))
    opened = SliceSet.open(data)
    with (
        _stop_on_signals() as stop,
        Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.description}"),
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("starting", total=1, epoch="-")

        def show(progress: training.Progress) -> None:
            ssim = "-" if progress.ssim is None else f"{progress.ssim:.3f}"
            bar.update(
                task,
                total=progress.epochs * progress.batches,
                completed=(progress.epoch - 1) * progress.batches + progress.batch,
                epoch=f"{progress.epoch}/{progress.epochs}",
                description=f"loss {progress.loss:.1f}  KL {progress.kl:.1f} nats  SSIM {ssim}  "
                f"{progress.images_per_second:.0f} images/s  {_duration(progress.seconds_left)} left",
            )

        def line(row: dict) -> None:
            held_out = row["validation"]
            bar.console.print(
                f"epoch {row['epoch']:>4}  loss {row['train']['loss']:8.2f}  held out: "
                f"SSIM {held_out['ssim']:.4f}  MSE {held_out['mse']:.5f}  KL {held_out['kl']:.1f} nats  "
                f"{held_out['active_units']} active units  {_duration(row['seconds'])}",
                highlight=False,
            )

        run, finished = training.fit(
            config,
            opened,
            out,
            device=device,
            resume=resume,
            title=title,
            on_progress=show,
            on_epoch=line,
            should_stop=stop.is_set,
        )
    if not finished:
        print(f"Stopped. Go on with: lungvae train --data {data} --out {out} --resume")
        raise typer.Exit(130)
    print(f"{out}: trained for {run.config.training.epochs} epochs.")
    if finish:
        encode(out, data)
        if opened is None:
            classify(out)
        else:
            print("No malignant and benign labels in this data set: no classifier was made.")
        map_(out)


@app.command()
def encode(run: RunFolder, data: Data) -> None:
    """Write the code of every slice of a data set into the run."""
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.encode import encode as encode_run

    opened = SliceSet.open(data)
    with _bar("encoding", len(opened)) as advance:
        encode_run(Run.open(run), opened, on_progress=advance)
    print(f"{run}: encoded {len(opened):,} slices.")


@contextmanager
def _bar(what: str, total: int) -> Iterator:
    """A progress bar; yields a function taking (done, total)."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a polite kill sets; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if number == signal.SIGINT:
            print("Stopping after this batch; press Ctrl-C again to stop at once.")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _settings(pairs: list[str]) -> dict[str, object]:
    import json

    settings: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, as beta=0.3; {pair!r} has no equals sign.")
        try:
            settings[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            settings[name.strip()] = value
    return settings


def _use_threads(threads: int) -> None:
    if threads < 0:
        raise UserError(f"--threads is {threads}; it must be 0 or more.")
    if threads:
        import torch

        torch.set_num_threads(threads)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
