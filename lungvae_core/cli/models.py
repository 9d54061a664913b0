"""Commands on trained models, `lungvae encode` to `export-explorer`; lists of models and presets."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import (
    Data,
    Diagnoses,
    IncludeSeen,
    LeaveOutSeen,
    Model,
    Ray,
    RunFolder,
    SliceIndex,
    Spacing,
    open_set,
    seen_choice,
    settings_of,
)
from lungvae_core.cli.progress import progress_bar

if TYPE_CHECKING:
    from lungvae_core.serving.models.registry import Prediction
    from lungvae_core.training.checkpoints import Run


@app.command()
def encode(run: RunFolder, data: Data) -> None:
    """Write the code of every slice of a data set into the run."""
    from lungvae_core.data.counted import Counted, left_out_before
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.encode import encode as encode_run

    opened = SliceSet.open(data)
    with progress_bar("encoding", len(opened)) as advance:
        encode_run(Run.open(run), opened, on_progress=advance)
    print(f"{run}: encoded {len(opened):,} slices.")
    print(Counted(used=len(opened), left_out=left_out_before(opened.info.details)).in_words())


@app.command()
def classify(
    run: RunFolder,
    seed: Annotated[int, typer.Option(help="Seed of the folds and the classifier.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeat with this many seeds, from --seed on, and report the spread.")
    ] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A classifier setting, as dropout=0.4; repeatable.")
    ] = None,
    diagnoses: Diagnoses = None,
    views: Annotated[
        int, typer.Option(help="Also average over 4 or 8 mirrored and turned views; needs --data.")
    ] = 1,
    data: Annotated[Path | None, typer.Option(help="The run's data set, for --views.")] = None,
    leave_out_seen: LeaveOutSeen = False,
    include_seen: IncludeSeen = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes to fit the folds on.")] = 1,
    ray: Ray = None,
) -> None:
    """Cross-validate an MLP on the codes, by patient, compared with size alone; save it in the run."""
    from lungvae_core.cli.evaluate import print_diagnosis
    from lungvae_core.data.diagnoses import read_diagnoses
    from lungvae_core.evaluation.classify import FOLDS
    from lungvae_core.evaluation.classify import classify as classify_run
    from lungvae_core.training.checkpoints import Run
    from lungvae_core.training.ensemble import MEMBERS
    from lungvae_core.training.search.spaces import configure_mlp, space

    config = configure_mlp(space("mlp"), {"seed": seed, **settings_of(set_)})
    with progress_bar("cross-validating", FOLDS * seeds + 1 + MEMBERS) as advance:
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
    _print_nodule_rules(report, views)
    print_diagnosis(report["diagnosis"])


@app.command("map")
def map_(
    run: RunFolder,
    seed: Annotated[int, typer.Option(help="Seed of UMAP and t-SNE.")] = 0,
    again: Annotated[bool, typer.Option(help="Make all maps, or only those that are missing.")] = True,
    only_2d: Annotated[bool, typer.Option("--2d", help="Leave out the maps of three dimensions.")] = False,
) -> None:
    """Map slices and nodules to two and three dimensions by UMAP, t-SNE and PCA of their codes."""
    from lungvae_core.explore.maps import DIMS, METHODS, UNITS, make_maps
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    dims = (2,) if only_2d else DIMS
    with progress_bar("mapping", len(METHODS) * len(UNITS) * len(dims)) as advance:
        make_maps(opened, dims=dims, seed=seed, again=again, on_progress=advance)
    print(f"{run}: maps by {', '.join(METHODS)}. {_encoded(opened)}")


@app.command()
def project(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The npy file to write: one row per slice or nodule.")],
    unit: Annotated[str, typer.Option(help="What a point is: slice or nodule.")] = "slice",
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    dims: Annotated[int, typer.Option(min=2, max=3, help="Dimensions of the map.")] = 2,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter, as neighbours=30; repeatable."),
    ] = None,
) -> None:
    """Make one map with your own parameters, like Method on the Latent map; `map` makes the stored ones."""
    from lungvae_core.array_file import write_array
    from lungvae_core.explore.maps import check_parameters, make_map
    from lungvae_core.training.checkpoints import Run

    parameters = check_parameters(method, settings_of(set_))
    opened = Run.open(run)
    places = make_map(opened, unit, method, dims=dims, **parameters)
    write_array(out, places)
    print(f"{out}: {len(places):,} {unit}s by {method} in {dims} dimensions. {_encoded(opened)}")


@app.command()
def predict(
    model: Model,
    image: Annotated[Path, typer.Argument(help="npy, png, tiff, DICOM, NIfTI, MetaImage or NRRD.")],
    row: Annotated[float | None, typer.Option(help="The lesion's centre, in pixels from the top.")] = None,
    column: Annotated[float | None, typer.Option(help="The same from the left.")] = None,
    index: SliceIndex = None,
    hu_low: Annotated[float | None, typer.Option(help="HU of black, for grey levels.")] = None,
    hu_high: Annotated[float | None, typer.Option(help="HU of white.")] = None,
    spacing: Spacing = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a lesion's slice with a model and list its neighbours; for research, not for clinical use."""
    import json

    from lungvae_core import NOTICE
    from lungvae_core.data.crops import agreed_spacing, box_of, check_spacing, patch_of, stated_range
    from lungvae_core.data.series import read_path
    from lungvae_core.serving.lesions.cases import own_slice_words, patient_of_upload
    from lungvae_core.serving.models import scoring
    from lungvae_core.serving.models.registry import Registry
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
    own, score_note = own_slice_words(loaded, patch), scoring.of_walk(loaded, patient)
    compared = encoded_rows(loaded.run, loaded.table)
    if json_:
        about = {
            "model": model,
            "image": str(image),
            "notice": NOTICE,
            "notes": [*opened.notes, *([own] if own else [])],
            "patient_of_the_set": patient,
            "score_note": score_note,
            "counted": compared.model_dump(),
        }
        print(json.dumps({**about, **prediction.summary()}))
        return
    for note in opened.notes:
        print(note)
    _print_score(prediction, score_note)
    if own:
        print(own)
    print(f"Compared with the model's slices. {compared.in_words()}")
    _print_neighbours(prediction)
    print(NOTICE)


def _print_score(prediction: Prediction, note: str) -> None:
    score = "no classifier in this model" if prediction.score is None else f"{prediction.score:.3f}"
    print(f"Model score (0 benign .. 1 malignant, not a probability of cancer): {score}")
    if note:
        print(note)
    rank = prediction.ssim_rank
    beside = "" if rank is None else f" (lower than {rank:.0%} of the training set's slices)"
    print(f"Reconstruction: SSIM {prediction.ssim:.3f}{beside}, MSE {prediction.mse:.4f}")


def _print_neighbours(prediction: Prediction) -> None:
    print("Nearest lesions of other patients:")
    for near in prediction.neighbours:
        print(
            f"  {near['patient_id']} nodule {near['nodule']} slice {near['slice']}"
            f"  malignancy {near['malignancy'] or '-'}  distance {near['distance']:.3f}"
        )


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
    from lungvae_core.serving.export.publish import publish as publish_run
    from lungvae_core.training.checkpoints import Run

    size = publish_run(Run.open(run), SliceSet.open(data), out, title=title, overwrite=overwrite)
    print(f"{out}: {size / 1e6:.1f} MB.")


@app.command("export-explorer")
def export_explorer(
    model: Model,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("explorer.html"),
    ct: Annotated[
        bool,
        typer.Option(
            "--ct",
            help="Include CT slices, if this machine has them. By default all images are generated: the file "
            "shows no patient.",
        ),
    ] = False,
    nodules_only: Annotated[bool, typer.Option(help="Leave out the map of slices: a smaller file.")] = False,
) -> None:
    """Write the map, images, traversals and figures as one HTML file for a talk or a paper's supplement."""
    from lungvae_core.explore.maps import UNITS
    from lungvae_core.serving.export.write import export_explorer as export
    from lungvae_core.serving.models.registry import Registry

    loaded = Registry().load_from(model)
    with progress_bar("decoding", 1) as advance:
        size = export(loaded, out, real=ct, units=("nodule",) if nodules_only else UNITS, on_progress=advance)
    kind = "CT slices (mind whose they are)" if ct else "generated images only"
    print(f"{out}: {size / 1e6:.1f} MB, {kind}. Open it in a browser; it needs no server.")


@app.command("models")
def models_() -> None:
    """List the models that the app offers."""
    from lungvae_core.serving.models.registry import Registry

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
        bool, typer.Option("--settings", help="Print each setting's meaning and range instead.")
    ] = False,
) -> None:
    """Print every preset's settings as JSON."""
    from lungvae_core.serving.jobs.form import settings_of
    from lungvae_core.vae.config import PRESETS

    if settings:
        for one in settings_of(PRESETS["dirvae"]):  # a preset for a Dirichlet has all of them
            print(f"{one.name} ({one.span}): {one.label}. {one.help}")
        return
    for name, config in PRESETS.items():
        print(f"{name}: {config.model_dump_json(exclude={'preset'})}")


def _encoded(run: Run) -> str:
    from lungvae_core.training.encode import encoded_rows

    return encoded_rows(run, run.latents()[0]).in_words()


def _print_report(report: dict[str, Any]) -> None:
    """Print the AUC table: the model beside lesion size, per slice and per nodule."""
    from lungvae_core.data.counted import counted_in_words

    nodule = report["units"]["nodule"]
    print(f"AUC, {report['label_rule_in_words']}; {report['protocol_in_words']}.")
    print(f"{nodule['patients']} patients, {nodule['count']} nodules; 95 % interval by resampling patients.")
    print(counted_in_words(report["data"]))
    print_aucs(report)
    for leak in report["leaks"]:
        print(f"LEAKS: {leak}")
    if not report["pixels_compared"]:
        print(
            "The run has no fingerprints, so slices were not compared between patients: `lungvae encode` it."
        )
    if rows := report["per_seed"]:
        aucs = {unit: [row[unit] for row in rows] for unit in ("slice", "nodule")}
        spread = ", ".join(
            f"{unit} {mean(values):.3f} ± {stdev(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            for unit, values in aucs.items()
        )
        print(f"\nOver {len(rows)} seeds, mean ± standard deviation (range) of the AUC: {spread}.")
    if held := report["heldout"]:
        inner = held["units"]["nodule"]
        print(f"\nOf these, {held['what']}: {inner['patients']} patients, {inner['count']} nodules.")
        print_aucs(held)


def print_aucs(report: dict[str, Any]) -> None:
    """Print the AUCs of the classifier and the baselines, per slice and per nodule."""
    rows = {"classifier on codes": report["units"]} | {
        f"{name} alone": both for name, both in report["baselines"].items()
    }
    print(f"{'':<22}{'slice':>24}{'nodule':>24}")
    for name, figures in rows.items():
        print(f"{name:<22}{_auc(figures['slice'])}{_auc(figures['nodule'])}")


def _auc(unit: dict[str, Any] | None) -> str:
    if unit is None:
        return f"{'-':>24}"
    area = unit["auc"]
    return f"{area['value']:8.3f} ({area['low']:.3f}-{area['high']:.3f})"


def _print_nodule_rules(report: dict[str, Any], views: int) -> None:
    for title, part in (("one view", report), (f"{views} views", report["views"])):
        if part:
            rules = ", ".join(
                f"{rule} {each['auc']['value']:.3f}" for rule, each in part["nodule_rules"].items()
            )
            print(f"AUC per nodule, {title}: {rules}")
