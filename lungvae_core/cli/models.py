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
    from lungvae_core.training.device import pick_device
    from lungvae_core.training.parallel import first_process, torchrun_size
    from lungvae_core.vae.config import override
    from lungvae_core.vae.config import preset as preset_named

    config = preset_named(preset)
    named = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    changes = {**named, **_settings(set_ or [])}
    config = override(config, changes)
    if resume and changes.keys() - {"on_nonfinite"}:
        raise UserError(
            "A resumed run keeps its settings: leave out --epochs, --seed and --set (but on_nonfinite)."
        )
    _use_threads(threads)
    device = str(pick_device(device))
    opened = SliceSet.open(data)
    with (
        _stop_on_signals() as stop,
        Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.description}"),
            transient=True,
            disable=not first_process(),
        ) as bar,
    ):
        task = bar.add_task("starting", total=1, epoch="-")
        if torchrun_size() > 1 and first_process():
            bar.console.print(f"{torchrun_size()} processes train one model together.")

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
                soft_wrap=True,
            )
            for sign in row.get("collapse", []):
                bar.console.print(f"            {sign}", style="yellow", highlight=False, soft_wrap=True)

        run, finished = training.fit(
            config,
            opened,
            out,
            device=device,
            resume=resume,
            title=title,
            on_nonfinite=str(changes["on_nonfinite"]) if "on_nonfinite" in changes else None,
            on_progress=show,
            on_epoch=line,
            should_stop=stop.is_set,
        )
    if not first_process():
        return  # the first one finishes the run
    if not finished:
        print(f"Stopped. Go on with: lungvae train --data {data} --out {out} --resume")
        raise typer.Exit(130)
    print(f"{out}: trained for {run.config.epochs} epochs.")
    if finish:
        encode(out, data)
        labels = opened.labelled()
        if (labels == 1).any() and (labels == 0).any():
            classify(out)
        else:
            print("No malignant and benign labels in this data set: no classifier was made.")
        map_(out, only_2d=True)


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


@app.command()
def classify(
    run: RunFolder,
    seed: Annotated[int, typer.Option(help="Of the folds and the classifier.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeat with this many seeds, from --seed on, and report the spread.")
    ] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the classifier, as dropout=0.4; repeatable."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes to fit the folds on.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Fit the folds on a running Ray cluster: auto, or its HOST:PORT.", show_default=False
        ),
    ] = None,
) -> None:
    """Cross-validate an MLP on the codes, by patient, beside what size alone gives; keep it in the run."""
    from lungvae_core.evaluation.frozen import FOLDS
    from lungvae_core.evaluation.frozen import classify as classify_run
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.ensemble import MEMBERS
    from lungvae_core.training.search.spaces import configure_mlp, space

    config = configure_mlp(space("mlp"), {"seed": seed, **_settings(set_ or [])})
    with _bar("cross-validating", FOLDS * seeds + 1 + MEMBERS) as advance:
        report = classify_run(
            Run.open(run),
            config,
            seeds=seeds,
            workers=None if ray and workers == 1 else workers,
            ray=ray,
            on_progress=advance,
        )
    _print_report(report)


@app.command("map")
def map_(
    run: RunFolder,
    seed: Annotated[int, typer.Option(help="Of UMAP and t-SNE.")] = 0,
    again: Annotated[
        bool, typer.Option(help="Make all maps anew; --no-again adds only those that are missing.")
    ] = True,
    only_2d: Annotated[bool, typer.Option("--2d", help="Leave out the maps of three dimensions.")] = False,
) -> None:
    """Lay the codes out in two and three dimensions by UMAP, t-SNE and PCA, slices and nodules."""
    from lungvae_core.explore.maps import DIMS, METHODS, UNITS, make_maps
    from lungvae_core.training.checkpoints import Run

    dims = (2,) if only_2d else DIMS
    with _bar("mapping", len(METHODS) * len(UNITS) * len(dims)) as advance:
        make_maps(Run.open(run), dims=dims, seed=seed, again=again, on_progress=advance)
    print(f"{run}: maps by {', '.join(METHODS)}.")


@app.command()
def project(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The npy file to write: a row a slice or nodule.")],
    unit: Annotated[str, typer.Option(help="What a point is: slice or nodule.")] = "slice",
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    dims: Annotated[int, typer.Option(min=2, max=3, help="Dimensions of the map.")] = 2,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter, as neighbours=30; repeat for more."),
    ] = None,
) -> None:
    """Make one map with parameters of your own, as the Latent map's Method does; `map` makes those stored."""
    import numpy as np

    from lungvae_core.explore.maps import check_parameters, make_map
    from lungvae_core.files import atomic_path
    from lungvae_core.training.checkpoints import Run

    parameters = check_parameters(method, _settings(set_ or []))
    found = make_map(Run.open(run), unit, method, dims=dims, **parameters)
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        np.save(stream, found)
    print(f"{out}: {len(found):,} {unit}s by {method} in {dims} dimensions.")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in models/ or runs/.")],
    image: Annotated[Path, typer.Argument(help="npy, png, DICOM or NIfTI.")],
    row: Annotated[float | None, typer.Option(help="The lesion's centre, in pixels from the top.")] = None,
    column: Annotated[float | None, typer.Option(help="The same from the left.")] = None,
    index: Annotated[int | None, typer.Option(help="Which slice of a stack, from 0.")] = None,
    hu_low: Annotated[float | None, typer.Option(help="HU of black, for png and 8-bit npy.")] = None,
    hu_high: Annotated[float | None, typer.Option(help="HU of white.")] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Pixel spacing in mm, where a model needs it and the image does not tell."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a lesion's slice with a model and list its neighbours; for research, not for clinical use."""
    import json

    from lungvae_core import NOTICE
    from lungvae_core.data.images import patch_of, read_image
    from lungvae_core.serving.registry import Registry

    if (hu_low is None) != (hu_high is None):
        raise UserError("A HU range needs both --hu-low and --hu-high.")
    hu_range = None if hu_low is None or hu_high is None else (hu_low, hu_high)
    loaded = Registry().load(model)
    opened = read_image(image, hu_range=hu_range)
    patch = patch_of(opened, row=row, column=column, slice_index=index, where=str(image))
    # What a person states comes before what the file says: files can be wrong.
    prediction = loaded.predict(patch, spacing_mm=opened.spacing_mm if spacing is None else spacing)
    if json_:
        print(json.dumps({"model": model, "image": str(image), "notice": NOTICE, **prediction.summary()}))
        return
    score = "no classifier in this model" if prediction.score is None else f"{prediction.score:.3f}"
    print(f"Model score (0 benign .. 1 malignant, not a probability of cancer): {score}")
    print(
        f"Reconstruction: SSIM {prediction.ssim:.3f} (lower than {prediction.ssim_rank:.0%} of the training "
        f"set's slices), MSE {prediction.mse:.4f}"
    )
    print("Nearest lesions of other patients:")
    for near in prediction.neighbours:
        print(
            f"  {near['patient_id']} nodule {near['nodule']} slice {near['slice']}"
            f"  malignancy {near['malignancy'] or '-'}  distance {near['distance']:.3f}"
        )
    print(NOTICE)


@app.command()
def publish(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the model, as models/NAME.")],
    title: Annotated[str, typer.Option(help="Its name in the app; by default the run's.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing --out.")] = False,
) -> None:
    """Make a finished run ready to ship: half the size, no pixels, a model card."""
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.serving.publish import publish as publish_run
    from lungvae_core.training.checkpoints import Run

    size = publish_run(Run.open(run), SliceSet.open(data), out, title=title, overwrite=overwrite)
    print(f"{out}: {size / 1e6:.1f} MB.")


@app.command("models")
def models_() -> None:
    """List the models that the app would offer."""
    from lungvae_core.serving.registry import Registry

    registry = Registry()
    entries, broken = registry.entries(), registry.broken()
    for entry in entries:
        print(f"{entry.name:<24} {entry.prior:<10} {entry.dimensions:>4} dimensions  {entry.folder}")
    for folder, reason in broken.items():
        print(f"{folder}: left out. {reason}")
    if not entries:
        print("There is no model yet. Train one with `lungvae train`.")


@app.command()
def presets() -> None:
    """Print every preset's settings as JSON."""
    from lungvae_core.vae.config import PRESETS

    for name, config in PRESETS.items():
        print(f"{name}: {config.model_dump_json(exclude={'preset'})}")


def _print_report(report: dict) -> None:
    """The AUC table: the model beside the size of the lesion, per slice and per nodule."""

    def cell(unit: dict | None) -> str:
        if unit is None:
            return f"{'-':>24}"
        area = unit["auc"]
        return f"{area['value']:8.3f} ({area['low']:.3f}-{area['high']:.3f})"

    def table(units: dict, baselines: dict) -> None:
        print(f"{'':<22}{'slice':>24}{'nodule':>24}")
        print(f"{'classifier on codes':<22}{cell(units['slice'])}{cell(units['nodule'])}")
        for name, both in baselines.items():
            print(f"{name + ' alone':<22}{cell(both['slice'])}{cell(both['nodule'])}")

    nodule = report["units"]["nodule"]
    print(f"AUC, {report['label_rule']}; {report['protocol_in_words']}.")
    print(f"{nodule['patients']} patients, {nodule['count']} nodules; 95 % interval by resampling patients.")
    table(report["units"], report["baselines"])
    if repeats := report.get("repeats"):
        told = ", ".join(
            f"{unit} {repeats[unit]['mean']:.3f} ± {repeats[unit]['deviation']:.3f} "
            f"({repeats[unit]['low']:.3f} to {repeats[unit]['high']:.3f})"
            for unit in ("slice", "nodule")
        )
        print(f"\nOver {len(repeats['seeds'])} seeds, mean ± standard deviation (range) of the AUC: {told}.")
    if held := report["heldout"]:
        inner = held["units"]["nodule"]
        print(f"\nOf these, {held['what']}: {inner['patients']} patients, {inner['count']} nodules.")
        table(held["units"], held["baselines"])


@contextmanager
def _bar(what: str, total: int) -> Iterator:
    """A progress bar; yields a function taking (done, total)."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def _stop_on_signals(what: str = "this batch") -> Iterator[threading.Event]:
    """An event that Ctrl-C or a polite kill sets; a second Ctrl-C ends the process at once.

    `what` is what is still finished before it stops.
    """
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if number == signal.SIGINT:
            print(f"Stopping after {what}; press Ctrl-C again to stop at once.")

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
