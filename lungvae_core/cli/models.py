"""`lungvae train`, `encode`, `classify`, `map`, `predict`, `models` and `presets`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.cli.described import option
from lungvae_core.errors import UserError
from lungvae_core.number_text import duration
from lungvae_core.vae.config import TrainingConfig

if TYPE_CHECKING:
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.seen import Seen

RunFolder = Annotated[Path, typer.Argument(help="A run's or model's folder.")]
LeaveOutSeen = Annotated[
    bool,
    typer.Option(
        "--leave-out-seen", help="Leave out all but the first of patients that have the same slices."
    ),
]
IncludeSeen = Annotated[
    bool,
    typer.Option("--include-seen", help="Keep patients that have the same slices; the report then says so."),
]
Data = Annotated[Path, typer.Option(help="A data set's folder.")]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    preset: Annotated[str, typer.Option(help="Its settings; `lungvae presets` lists them.")] = "dirvae",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    epochs: Annotated[int | None, option(TrainingConfig, "epochs", "By default the preset's.")] = None,
    seed: Annotated[int | None, option(TrainingConfig, "seed", "By default the preset's.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting, as beta=0.3; repeatable. `lungvae presets --settings` explains them.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The model's name in the app; by default the folder's.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for all.")] = 0,
    finish: Annotated[
        bool, typer.Option(help="Afterwards encode, classify and map, so that the app can show the model.")
    ] = True,
) -> None:
    """Train a VAE; Ctrl-C stops after the batch in hand, and --resume goes on from there."""
    import numpy as np
    from rich.progress import BarColumn, Progress, TextColumn

    from lungvae_core.data.counted import chosen_rows, left_out_before
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
    opened = open_set(data)
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
                f"{progress.images_per_second:.0f} images/s  {duration(progress.seconds_left)} left",
            )

        def line(row: dict) -> None:
            held_out = row["validation"]
            bar.console.print(
                f"epoch {row['epoch']:>4}  loss {row['train']['loss']:8.2f}  held out: "
                f"SSIM {held_out['ssim']:.4f}  MSE {held_out['mse']:.5f}  KL {held_out['kl']:.1f} nats  "
                f"{held_out['active_units']} active units  {duration(row['seconds'])}",
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
    sides = run.split(opened.table)
    used = np.isin(np.arange(len(opened)), np.concatenate(sides))
    counted = chosen_rows(used, "of patients set aside", before=left_out_before(opened.info.details))
    print(
        f"{counted.in_words()} Trained on {len(sides[0]):,}; the figures are of {len(sides[1]):,} held out."
    )
    if finish:
        encode(out, data)
        labels = opened.labelled()
        if (labels == 1).any() and (labels == 0).any():
            try:
                classify(out)
            except UserError as error:  # the training itself is done, and its maps can be made
                print(f"No classifier was made: {error}")
        else:
            print("No malignant and benign labels in this data set: no classifier was made.")
        map_(out, only_2d=True)


@app.command()
def encode(run: RunFolder, data: Data) -> None:
    """Write the code of every slice of a data set into the run."""
    from lungvae_core.data.counted import Counted, left_out_before
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.encode import encode as encode_run

    opened = SliceSet.open(data)
    with _bar("encoding", len(opened)) as advance:
        encode_run(Run.open(run), opened, on_progress=advance)
    print(f"{run}: encoded {len(opened):,} slices.")
    print(Counted(used=len(opened), left_out=left_out_before(opened.info.details)).in_words())


Diagnoses = Annotated[
    Path | None,
    typer.Option(
        help="A table of confirmed diagnoses (patient_id, diagnosis: 0 unknown, 1 benign, 2 primary, "
        "3 metastatic); the report then judges model, readers and size against it too."
    ),
]


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
    diagnoses: Diagnoses = None,
    views: Annotated[
        int,
        typer.Option(help="Report figures averaged over mirrored and turned views too: 4 or 8, with --data."),
    ] = 1,
    data: Annotated[
        Path | None, typer.Option(help="The run's own data set, whose views are encoded.")
    ] = None,
    leave_out_seen: LeaveOutSeen = False,
    include_seen: IncludeSeen = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes to fit the folds on.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Fit the folds on a running Ray cluster: auto, or its HOST:PORT.", show_default=False
        ),
    ] = None,
) -> None:
    """Cross-validate an MLP on the codes, by patient, beside what size alone gives; keep it in the run."""
    from lungvae_core.cli.evaluate import diagnosis_lines
    from lungvae_core.data.diagnoses import read_diagnoses
    from lungvae_core.evaluation.classify import FOLDS
    from lungvae_core.evaluation.classify import classify as classify_run
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.ensemble import MEMBERS
    from lungvae_core.training.search.spaces import configure_mlp, space

    config = configure_mlp(space("mlp"), {"seed": seed, **_settings(set_ or [])})
    with _bar("cross-validating", FOLDS * seeds + 1 + MEMBERS) as advance:
        report = classify_run(
            Run.open(run),
            config,
            seeds=seeds,
            seen=seen_choice(leave_out_seen, include_seen),
            diagnoses=None if diagnoses is None else read_diagnoses(diagnoses),
            views=views,
            data=None if data is None else open_set(data),
            workers=None if ray and workers == 1 else workers,
            ray=ray,
            on_progress=advance,
        )
    _print_report(report)
    for title, part in (("one view", report), (f"{views} views", report["views"])):
        if part:
            rules = {rule: each["auc"]["value"] for rule, each in part["nodule_rules"].items()}
            print(
                f"AUC per nodule, {title}: " + ", ".join(f"{rule} {area:.3f}" for rule, area in rules.items())
            )
    for line in diagnosis_lines(report["diagnosis"]):
        print(line)


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

    opened = Run.open(run)
    dims = (2,) if only_2d else DIMS
    with _bar("mapping", len(METHODS) * len(UNITS) * len(dims)) as advance:
        make_maps(opened, dims=dims, seed=seed, again=again, on_progress=advance)
    print(f"{run}: maps by {', '.join(METHODS)}. {_encoded(opened)}")


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
    from lungvae_core.array_file import write_array
    from lungvae_core.explore.maps import check_parameters, make_map
    from lungvae_core.training.checkpoints import Run

    parameters = check_parameters(method, _settings(set_ or []))
    opened = Run.open(run)
    places = make_map(opened, unit, method, dims=dims, **parameters)
    write_array(out, places)
    print(f"{out}: {len(places):,} {unit}s by {method} in {dims} dimensions. {_encoded(opened)}")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in models/ or runs/.")],
    image: Annotated[Path, typer.Argument(help="npy, png, tiff, DICOM, NIfTI, MetaImage or NRRD.")],
    row: Annotated[float | None, typer.Option(help="The lesion's centre, in pixels from the top.")] = None,
    column: Annotated[float | None, typer.Option(help="The same from the left.")] = None,
    index: Annotated[int | None, typer.Option(help="Which slice of a stack, from 0.")] = None,
    hu_low: Annotated[float | None, typer.Option(help="HU of black, for grey levels.")] = None,
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
    from lungvae_core.data.crops import agreed_spacing, box_of, check_spacing, patch_of, stated_range
    from lungvae_core.data.series import read_path
    from lungvae_core.serving import scoring
    from lungvae_core.serving.cases import own_slice_words, patient_of_upload
    from lungvae_core.serving.registry import Registry
    from lungvae_core.training.encode import encoded_rows

    check_spacing(spacing, "--spacing")
    loaded = Registry().load_from(model)
    opened = read_path(image, hu_range=stated_range(hu_low, hu_high))
    box = box_of(opened, row=row, column=column, index=index, where=str(image))
    patch = patch_of(opened, box, where=str(image))
    patient = patient_of_upload(loaded, patch[None], opened.patient_id)
    prediction = loaded.predict(
        patch, spacing_mm=agreed_spacing(opened, spacing, "--spacing"), exclude_patient=patient
    )
    own, behind = own_slice_words(loaded, patch), scoring.of_walk(loaded, patient)
    compared = encoded_rows(loaded.run, loaded.table)
    if json_:
        notes = [*opened.notes, *([own] if own else [])]
        about = {
            "model": model,
            "image": str(image),
            "notice": NOTICE,
            "notes": notes,
            "patient_of_the_set": patient,
            "score_note": behind,
            "counted": compared.model_dump(),
        }
        print(json.dumps({**about, **prediction.summary()}))
        return
    for note in opened.notes:
        print(note)
    score = "no classifier in this model" if prediction.score is None else f"{prediction.score:.3f}"
    print(f"Model score (0 benign .. 1 malignant, not a probability of cancer): {score}")
    if behind:
        print(behind)
    rank = prediction.ssim_rank
    beside = "" if rank is None else f" (lower than {rank:.0%} of the training set's slices)"
    print(f"Reconstruction: SSIM {prediction.ssim:.3f}{beside}, MSE {prediction.mse:.4f}")
    if own:
        print(own)
    print(f"Compared with the model's slices. {compared.in_words()}")
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
def presets(
    settings: Annotated[
        bool, typer.Option("--settings", help="Instead, say what each setting means and what it can be.")
    ] = False,
) -> None:
    """Print every preset's settings as JSON."""
    from lungvae_core.serving.form import settings_of
    from lungvae_core.vae.config import PRESETS

    if settings:
        for one in settings_of(PRESETS["dirvae"]):  # a Dirichlet's preset has all of them
            print(f"{one.name} ({one.span}): {one.label}. {one.help}")
        return
    for name, config in PRESETS.items():
        print(f"{name}: {config.model_dump_json(exclude={'preset'})}")


def _encoded(run: Run) -> str:
    from lungvae_core.training.encode import encoded_rows

    return encoded_rows(run, run.latents()[0]).in_words()


def _print_report(report: dict) -> None:
    """The AUC table: the model beside the size of the lesion, per slice and per nodule."""
    from lungvae_core.data.counted import counted_in_words

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
    print(counted_in_words(report))
    table(report["units"], report["baselines"])
    for leak in report["leaks"]:
        print(f"LEAKS: {leak}")
    if not report["pixels_compared"]:
        print(
            "The run has no fingerprints, so slices were not compared between patients: `lungvae encode` it."
        )
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


def open_set(folder: Path) -> SliceSet:
    """Open a data set; what of its table was read otherwise than it is written goes to standard error."""
    from lungvae_core.data.slices import SliceSet

    opened = SliceSet.open(folder)
    for note in opened.notes:
        print(f"Note on {folder}: {note}", file=sys.stderr)
    return opened


def seen_choice(leave_out: bool, include: bool) -> Seen:
    """What is done with slices that were seen, from --leave-out-seen and --include-seen."""
    if leave_out and include:
        raise UserError("--leave-out-seen and --include-seen exclude each other; choose one.")
    return "leave_out" if leave_out else "include" if include else "refuse"


def _settings(pairs: list[str]) -> dict[str, object]:
    from lungvae_core.json_text import parse_json

    settings: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, as beta=0.3; {pair!r} has no equals sign.")
        try:
            settings[name.strip()] = parse_json(value, what="A setting")
        except UserError:
            settings[name.strip()] = value
    return settings


def _use_threads(threads: int) -> None:
    if threads < 0:
        raise UserError(f"--threads is {threads}; it must be 0 or more.")
    if threads:
        import torch

        torch.set_num_threads(threads)
