"""`lungvae directions` and `counterfactual`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Model, RunFolder, SliceIndex, Spacing, open_set
from lungvae_core.cli.progress import progress_bar
from lungvae_core.errors import UserError
from lungvae_core.number_text import DASH, interval, number

if TYPE_CHECKING:
    import numpy as np

    from lungvae_core.explore.counterfactual import Counterfactual
    from lungvae_core.serving.models.registry import LoadedModel


@app.command()
def directions(
    run: RunFolder,
    data: Annotated[
        Path | None, typer.Option(help="Fit on this data set, not on the slices that the run has encoded.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, resamples and shuffles.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the resamples.")] = False,
) -> None:
    """Fit directions for malignancy, size and every rating, on nodules; write directions.json into the run.

    Each is scored on patients that it was not fitted on, and compared with fits on other patients.
    """
    from lungvae_core.explore.directions import make_directions
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    slices = None if data is None else open_set(data)
    with progress_bar("fitting directions") as advance:
        report = make_directions(opened, slices, seed=seed, quick=quick, on_progress=advance)
    _print_directions(run, report)


def _print_directions(run: Path, report: dict[str, Any]) -> None:
    from lungvae_core.data.counted import counted_in_words

    print(
        f"{run}: {len(report['directions'])} directions from {report['nodules']} nodules of "
        f"{report['patients']} patients (malignancy by {report['label_rule']})."
    )
    print(
        f"Held-out score in {report['folds']} folds by patient with a 95 % interval; cosine of the pattern "
        "from two halves of the patients, beside that with shuffled labels; "
        f"{report['resamples']} resamples, seed {report['seed']}."
    )
    print(counted_in_words(report))
    if report["leak"]:
        print(f"LEAKS: {report['leak']}.")
    print(f"{'':<26}{'nodules':>8}{'held out':>28}{'halves (shuffled)':>20}{'with diameter':>15}")
    for name, entry in report["directions"].items():
        halves = entry["stability"]["pattern"]["halves"]
        score = f"{entry['score']['name'].upper()} {interval(entry['score'])}"
        print(
            f"{name:<26}{entry['nodules']:>8}{score:>28}"
            f"{_two(halves['value'], halves['null']):>20}{number(entry['with_diameter'], 2):>15}"
        )
    for name, entry in report["directions"].items():
        if entry["counted"]["left_out"]:
            print(f"{name}: {counted_in_words(entry)}")
    _print_matched({name: each["matched"] for name, each in report["directions"].items() if each["matched"]})


def _print_matched(matched: dict[str, dict[str, Any]]) -> None:
    if not matched:
        return
    print("\nAUC for malignancy among nodules of like size:")
    print(f"{'':<26}{'in the same size band':>28}{'diameters within 10 %':>28}")
    for name, entry in matched.items():
        print(f"{name:<26}{interval(entry['band']['auc']):>28}{interval(entry['size']['auc']):>28}")
    bands = (entry[band]["diameter"] for band in ("band", "size"))
    print(f"{'diameter alone':<26}" + "".join(f"{interval(figure):>28}" for figure in bands))


def _two(value: float | None, null: float | None) -> str:
    return DASH if value is None or null is None else f"{number(value, 2)} ({number(null, 2)})"


@app.command()
def counterfactual(
    model: Model,
    row: Annotated[int | None, typer.Option(help="A lesion: its row in the model's table, from 0.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Or an image: npy, png, tiff, DICOM, NIfTI, MetaImage or NRRD.")
    ] = None,
    centre: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Centre of the image's lesion, in pixels from the top and from the left."),
    ] = None,
    index: SliceIndex = None,
    hu: Annotated[
        tuple[float, float] | None, typer.Option(help="HU of black and of white, for grey levels.")
    ] = None,
    spacing: Spacing = None,
    score: Annotated[float, typer.Option(help="The model score to pass, 0 to 1.")] = 0.5,
    towards: Annotated[
        str | None, typer.Option(help="malignant or benign; by default the other side.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=0, help="Change at most this many dimensions; 0: as few as possible.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the restarts.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with both codes.")] = False,
) -> None:
    """Find the smallest change of a lesion's code that flips its model score; print what changed.

    It describes the model, not a disease: no lesion was followed over time, and nothing here is a cause.
    """
    import json

    import numpy as np

    from lungvae_core import NOTICE
    from lungvae_core.data.counted import chosen_rows
    from lungvae_core.data.crops import check_spacing
    from lungvae_core.explore.counterfactual import changes, in_words
    from lungvae_core.serving.models import scoring
    from lungvae_core.serving.models.registry import Registry
    from lungvae_core.serving.walks import paths
    from lungvae_core.training.encode import left_out_of

    if (row is None) == (image is None):
        raise UserError("Name a lesion by --row, or an image by --image, and not both.")
    if row is not None and any(given is not None for given in (centre, index, hu, spacing)):
        raise UserError("--centre, --index, --hu and --spacing are of an --image; a --row has none of them.")
    check_spacing(spacing, "--spacing")
    loaded = Registry().load_from(model)
    if image is not None:
        lesion = str(image)
        code, patient = _lesion_in_image(loaded, image, centre, index, hu, spacing)
    else:
        assert row is not None
        code, patient, lesion = _lesion_in_row(loaded, row)
    flip = paths.flip(
        loaded, code, patient=patient, target=score, towards=towards, dimensions=dimensions, seed=seed
    )
    low, high = loaded.window
    changed = [] if flip.already else changes(low + (high - low) * loaded.decode(flip.path[[0, -1]]))
    note = scoring.of_walk(loaded, patient)
    among = np.isin(np.arange(len(loaded.codes)), paths.flips(loaded).others(patient))
    counted = chosen_rows(among, "of the lesion's own patient", before=left_out_of(loaded.run, loaded.table))
    if json_:
        about = {"model": model, "lesion": lesion, "notice": NOTICE, "score_note": note, **flip.summary()}
        about["counted"] = counted.model_dump()
        print(json.dumps({**about, "changes": [vars(change) for change in changed]}))
        return
    _print_counterfactual(lesion, flip, in_words(changed))
    print(note)
    print(f"Compared with the model's slices. {counted.in_words()}")
    print(NOTICE)


def _lesion_in_row(loaded: LoadedModel, row: int) -> tuple[np.ndarray, str, str]:
    """Return (code (K,), its patient, description) of a row of the model's table."""
    if not 0 <= row < len(loaded.table):
        raise UserError(
            f"The model {loaded.entry.name} has no slice in row {row}; its rows are 0 to "
            f"{len(loaded.table) - 1}."
        )
    at = loaded.table.iloc[row]
    patient = str(at["patient_id"])
    return loaded.codes[row], patient, f"{patient}, nodule {at['nodule']}, slice {at['slice']}"


def _lesion_in_image(
    loaded: LoadedModel,
    image: Path,
    centre: tuple[float, float] | None,
    index: int | None,
    hu: tuple[float, float] | None,
    spacing: float | None,
) -> tuple[np.ndarray, str | None]:
    """Return (code (K,), its patient if the model has seen it) of an image's lesion."""
    from lungvae_core.data.crops import agreed_spacing, box_of, patch_of
    from lungvae_core.data.series import read_path
    from lungvae_core.data.volumes.scale import check_range
    from lungvae_core.serving.lesions.cases import patient_of_upload

    opened = read_path(image, hu_range=None if hu is None else check_range(*hu))
    down, across = (None, None) if centre is None else centre
    box = box_of(opened, row=down, column=across, index=index, where=str(image))
    patch = patch_of(opened, box, where=str(image))
    seen = loaded.seen(patch, agreed_spacing(opened, spacing, "--spacing"))
    return loaded.vae.encode_hu(seen[None])[0], patient_of_upload(loaded, patch[None], opened.patient_id)


def _print_counterfactual(lesion: str, flip: Counterfactual, changes: list[str]) -> None:
    print(
        f"{lesion}: model score {flip.score_before:.3f} "
        "(0 benign .. 1 malignant, not a probability of cancer)."
    )
    if flip.already:
        side = "above" if flip.upwards else "below"
        print(f"It is {side} {flip.target:g} already: there is nothing to change.")
        return
    print(
        f"Smallest change found: score {flip.score_after:.3f}, at {flip.distance:.2f} standard deviations "
        f"of the lesions (seed {flip.seed})."
    )
    print(f"Decoded, the lesion {', '.join(changes) or 'changes by nothing that is measured'}.")
    most = ", ".join(f"z {at}" for at in flip.dimensions[:6])
    print(f"Dimensions that changed: {len(flip.dimensions)}, most of all {most}.")
    print(
        f"Nearest lesion of another patient: at {flip.nearest_before:.2f} before and "
        f"{flip.nearest_after:.2f} after; {flip.far_after:.0%} of the lesions have a nearer one."
    )
    if flip.warning:
        print(flip.warning)
    print("This tells of the model and its score, not of a disease: it is neither a cause nor a course.")
