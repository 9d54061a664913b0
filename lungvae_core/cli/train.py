"""`lungvae train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Data, Device, open_set, option, settings_of
from lungvae_core.cli.progress import status_bar, stop_on_signals
from lungvae_core.errors import UserError
from lungvae_core.number_text import duration
from lungvae_core.vae.config import TrainingConfig

if TYPE_CHECKING:
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.fit import Progress


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    preset: Annotated[str, typer.Option(help="A set of settings; `lungvae presets` lists them.")] = "dirvae",
    resume: Annotated[bool, typer.Option(help="Continue the run in --out.")] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights of this model of the same data and held-out patients."),
    ] = None,
    device: Device = "auto",
    epochs: Annotated[int | None, option(TrainingConfig, "epochs", "By default the preset's.")] = None,
    seed: Annotated[int | None, option(TrainingConfig, "seed", "By default the preset's.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting, as beta=0.3; repeatable. `lungvae presets --settings` lists them.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The model's name in the app; by default the folder's.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for all.")] = 0,
    finish: Annotated[
        bool, typer.Option(help="Afterwards encode, classify and map, so that the app can show the model.")
    ] = True,
) -> None:
    """Train a VAE; Ctrl-C stops after the current batch, and --resume continues from there."""
    from lungvae_core.training import fit as training
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.device import pick_device
    from lungvae_core.training.parallel import first_process, torchrun_size
    from lungvae_core.vae.config import override
    from lungvae_core.vae.config import preset as preset_named

    named = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    changes = {**named, **settings_of(set_)}
    config = override(preset_named(preset), changes)
    if resume and (start or changes.keys() - {"on_nonfinite"}):
        raise UserError(
            "A resumed run keeps its settings: leave out --start, --epochs, --seed and --set (but "
            "on_nonfinite)."
        )
    _use_threads(threads)
    device = str(pick_device(device))
    opened = open_set(data)
    first = first_process()  # the others show nothing
    bar = status_bar("epoch {task.fields[count]}", disable=not first)
    with stop_on_signals() as stop, bar as (update, print_line):
        if torchrun_size() > 1 and first:
            print_line(f"{torchrun_size()} processes train one model together.")
        run, finished = training.fit(
            config,
            opened,
            out,
            device=device,
            resume=resume,
            title=title,
            start=None if start is None else Run.open(start),
            on_nonfinite=str(changes["on_nonfinite"]) if "on_nonfinite" in changes else None,
            on_preparation=lambda what, share: update(total=1, completed=share, description=f"first {what}"),
            on_progress=lambda progress: update(**_status(progress)),
            on_epoch=lambda row: _print_epoch(row, print_line),
            should_stop=stop.is_set,
        )
    if not first:
        return  # the first process finishes the run
    if not finished:
        print(f"Stopped. Go on with: lungvae train --data {data} --out {out} --resume")
        raise typer.Exit(130)
    print(f"{out}: trained for {run.config.epochs} epochs.")
    _print_split(run, opened)
    if finish:
        _finish(out, data, opened)


def _status(progress: Progress) -> dict[str, Any]:
    """Return what the progress bar shows."""
    ssim = "-" if progress.ssim is None else f"{progress.ssim:.3f}"
    return {
        "total": progress.epochs * progress.batches,
        "completed": (progress.epoch - 1) * progress.batches + progress.batch,
        "count": f"{progress.epoch}/{progress.epochs}",
        "description": f"loss {progress.loss:.1f}  KL {progress.kl:.1f} nats  SSIM {ssim}  "
        f"{progress.images_per_second:.0f} images/s  {duration(progress.seconds_left)} left",
    }


def _print_epoch(row: dict[str, Any], print_line: Callable[..., None]) -> None:
    held_out = row["validation"]
    print_line(
        f"epoch {row['epoch']:>4}  loss {row['train']['loss']:8.2f}  held out: "
        f"SSIM {held_out['ssim']:.4f}  MSE {held_out['mse']:.5f}  KL {held_out['kl']:.1f} nats  "
        f"{held_out['active_units']} active units  {duration(row['seconds'])}"
    )
    for sign in row.get("collapse", []):
        print_line(f"            {sign}", style="yellow")


def _print_split(run: Run, data: SliceSet) -> None:
    """Print how many slices the model was trained on, and how many its figures are from."""
    import numpy as np

    from lungvae_core.data.counted import chosen_rows, left_out_before

    fitted, held_out = run.split(data.table)
    used = np.isin(np.arange(len(data)), np.concatenate([fitted, held_out]))
    counted = chosen_rows(used, "of patients set aside", before=left_out_before(data.info.details))
    print(f"{counted.in_words()} Trained on {len(fitted):,}; the figures are of {len(held_out):,} held out.")


def _finish(out: Path, folder: Path, data: SliceSet) -> None:
    """Encode, classify and map, so that the app can show the model."""
    from lungvae_core.cli.models import classify, encode, map_

    encode(out, folder)
    labels = data.labelled()
    if (labels == 1).any() and (labels == 0).any():
        try:
            classify(out)
        except UserError as error:  # the training itself is done, and its maps can still be made
            print(f"No classifier was made: {error}")
    else:
        print("No malignant and benign labels in this data set: no classifier was made.")
    map_(out, only_2d=True)


def _use_threads(threads: int) -> None:
    if threads < 0:
        raise UserError(f"--threads is {threads}; it must be 0 or more.")
    if threads:
        import torch

        torch.set_num_threads(threads)
