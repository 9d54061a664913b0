"""`lungvae directions` and `counterfactual`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from lungvae_core.explore.counterfactual import Counterfactual
    from lungvae_core.serving.registry import LoadedModel


@app.command()
def directions(
    run: Annotated[Path, typer.Argument(help="A run's or model's folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Fit on this data set instead of the slices that the run has encoded.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds, resamples and shuffles.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the resamples.")] = False,
) -> None:
    """Fit directions for malignancy, size and every rating, on nodules; write directions.json into the run.

    Each is scored on patients that it was not fitted on, beside how alike it comes out from other patients.
    """
    from rich.progress import Progress

    from lungvae_core.data.slices import SliceSet
    from lungvae_core.explore.directions import make_directions
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    slices = None if data is None else SliceSet.open(data)
    with Progress(transient=True) as bar:
        task = bar.add_task("fitting directions", total=None)
        report = make_directions(
            opened,
            slices,
            seed=seed,
            quick=quick,
            on_progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    _print_directions(run, report)


def _print_directions(run: Path, report: dict[str, Any]) -> None:
    print(
        f"{run}: {len(report['directions'])} directions from {report['nodules']} nodules of "
        f"{report['patients']} patients (malignancy by {report['label_rule']})."
    )
    print(
        f"Held-out score in {report['folds']} folds by patient with a 95 % interval; cosine of the pattern "
        "from two halves of the patients, beside that with shuffled labels; "
        f"{report['resamples']} resamples, seed {report['seed']}."
    )
    if report["leak"]:
        print(f"LEAKS: {report['leak']}.")
    print(f"{'':<26}{'nodules':>8}{'held out':>28}{'halves (shuffled)':>20}{'with diameter':>15}")
    for name, entry in report["directions"].items():
        halves = entry["stability"]["pattern"]["halves"]
        print(
            f"{name:<26}{entry['nodules']:>8}{_figure(entry['score'], entry['score']['name'].upper()):>28}"
            f"{_two(halves['value'], halves['null']):>20}{_plain(entry['with_diameter']):>15}"
        )
    told = [(name, entry["matched"]) for name, entry in report["directions"].items() if entry["matched"]]
    if told:
        print("\nAUC for malignancy among nodules of like size:")
        print(f"{'':<26}{'in the same size band':>28}{'diameters within 10 %':>28}")
        for name, matched in told:
            print(f"{name:<26}{_figure(matched['band']['auc']):>28}{_figure(matched['size']['auc']):>28}")
        last = told[-1][1]
        print(f"{'diameter alone':<26}", end="")
        print(f"{_figure(last['band']['diameter']):>28}{_figure(last['size']['diameter']):>28}")


def _figure(figure: dict[str, Any], name: str = "") -> str:
    if figure["value"] is None:
        return "-"
    text = f"{name} {figure['value']:.3f}".strip()
    return text if figure["low"] is None else f"{text} ({figure['low']:.3f} to {figure['high']:.3f})"


def _two(value: float | None, null: float | None) -> str:
    return "-" if value is None or null is None else f"{value:.2f} ({null:.2f})"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@app.command()
def counterfactual(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in models/ or runs/.")],
    row: Annotated[
        int | None, typer.Option(help="A lesion: its row in the model's table, from 0.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Or an image: npy, png, DICOM or NIfTI.", show_default=False)
    ] = None,
    centre: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="The image's lesion, in pixels from the top and from the left.", show_default=False
        ),
    ] = None,
    index: Annotated[
        int | None, typer.Option(help="Which slice of a stack, from 0.", show_default=False)
    ] = None,
    hu: Annotated[
        tuple[float, float] | None,
        typer.Option(help="HU of black and of white, for png and 8-bit npy.", show_default=False),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Pixel spacing in mm, where a model needs it and the image does not tell."),
    ] = None,
    score: Annotated[float, typer.Option(help="The model score to pass, 0 to 1.")] = 0.5,
    towards: Annotated[
        str | None,
        typer.Option(help="malignant or benign; by default the other side.", show_default=False),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(
            min=0, help="Change at most so many dimensions; 0: as few as are enough.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the restarts.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with both codes.")] = False,
) -> None:
    """Find the smallest change of a lesion's code that flips its model score; print what changed.

    It tells of the model, not of a disease: no lesion was followed, and nothing here is a cause.
    """
    import json

    from lungvae_core import NOTICE
    from lungvae_core.explore.counterfactual import Lesions, changes, in_words
    from lungvae_core.explore.counterfactual import counterfactual as search
    from lungvae_core.serving.registry import Registry

    if (row is None) == (image is None):
        raise UserError("Name a lesion by --row, or an image by --image, and not both.")
    loaded = Registry().load(model)
    code, patient, what = _lesion(loaded, row, image, centre, index, hu, spacing)
    if loaded.classifier is None:
        raise UserError(
            f"The model {loaded.entry.name} has no classifier, so that there is no score to flip. Make one "
            f"with `lungvae classify {loaded.entry.folder}`."
        )
    lesions = Lesions.of(loaded.classifier, loaded.codes, loaded.table["patient_id"].astype(str).to_numpy())
    found = search(
        lesions,
        loaded.classifier,
        code,
        patient=patient,
        wanted=score,
        towards=towards,
        dimensions=dimensions,
        seed=seed,
    )
    low, high = loaded.window
    changed = [] if found.already else changes(low + (high - low) * loaded.decode(found.path[[0, -1]]))
    if json_:
        told = {"model": model, "lesion": what, "notice": NOTICE, **found.summary()}
        print(json.dumps({**told, "changes": [vars(change) for change in changed]}))
        return
    _print_counterfactual(what, found, in_words(changed))
    print(NOTICE)


def _lesion(
    loaded: LoadedModel,
    row: int | None,
    image: Path | None,
    centre: tuple[float, float] | None,
    index: int | None,
    hu: tuple[float, float] | None,
    spacing: float | None,
) -> tuple[np.ndarray, str | None, str]:
    """(code (K,), its patient where known, in words) of a row or an image."""
    from lungvae_core.data.images import patch_of, read_image

    if row is not None:
        if not 0 <= row < len(loaded.table):
            raise UserError(
                f"The model {loaded.entry.name} has no slice in row {row}; its rows are 0 to "
                f"{len(loaded.table) - 1}."
            )
        at = loaded.table.iloc[row]
        patient = str(at["patient_id"])
        return loaded.codes[row], patient, f"{patient}, nodule {at['nodule']}, slice {at['slice']}"
    assert image is not None
    opened = read_image(image, hu_range=hu)
    down, across = (None, None) if centre is None else centre
    patch = patch_of(opened, row=down, column=across, slice_index=index, where=str(image))
    seen = loaded.seen(patch, opened.spacing_mm if spacing is None else spacing)
    return loaded.vae.encode_hu(seen[None])[0], None, str(image)


def _print_counterfactual(what: str, found: Counterfactual, words: list[str]) -> None:
    print(
        f"{what}: model score {found.score_before:.3f} "
        "(0 benign .. 1 malignant, not a probability of cancer)."
    )
    if found.already:
        side = "above" if found.upwards else "below"
        print(f"It is {side} {found.wanted:g} already: there is nothing to change.")
        return
    print(
        f"Smallest change found: score {found.score_after:.3f}, at {found.distance:.2f} standard deviations "
        f"of the lesions (seed {found.seed})."
    )
    print(f"Decoded, the lesion {', '.join(words) or 'changes by nothing that is measured'}.")
    most = ", ".join(f"z {at}" for at in found.dimensions[:6])
    print(f"Dimensions that changed: {len(found.dimensions)}, most of all {most}.")
    print(
        f"Nearest lesion of another patient: at {found.nearest_before:.2f} before and "
        f"{found.nearest_after:.2f} after; {found.far_after:.0%} of the lesions have a nearer one."
    )
    if found.warning:
        print(found.warning)
    print("This tells of the model and its score, not of a disease: it is neither a cause nor a course.")
