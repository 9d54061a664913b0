"""`lungvae import`, `info` and `phantom`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Processes
from lungvae_core.cli.progress import task_bars
from lungvae_core.errors import UserError

if TYPE_CHECKING:
    from lungvae_core.data.tables import NoduleRule


@app.command("import")
def import_(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    slices: Annotated[Path | None, typer.Option(help="npy, (N, 64, 64) in HU.")] = None,
    masks: Annotated[Path | None, typer.Option(help="npy, (N, 64, 64) of 0/1 or (N, 512) bits.")] = None,
    table: Annotated[Path | None, typer.Option(help="csv, tsv, xlsx or parquet; one row per slice.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="A table of image files instead.")] = None,
    one_nodule_per_patient: Annotated[
        bool, typer.Option("--one-nodule-per-patient", help="Without a column nodule: one per patient.")
    ] = False,
    one_nodule_per_slice: Annotated[
        bool, typer.Option("--one-nodule-per-slice", help="Without a column nodule: one per row.")
    ] = False,
    hu_low: Annotated[float | None, typer.Option(help="HU of black, if --slices are grey levels.")] = None,
    hu_high: Annotated[float | None, typer.Option(help="HU of white.")] = None,
    name: Annotated[str, typer.Option(help="The data set's name; by default the folder's.")] = "",
    attribution: Annotated[str, typer.Option(help="Credit for the data.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing --out.")] = False,
) -> None:
    """Make a data set from arrays and a table, or from image files listed in a manifest."""
    from lungvae_core.data.counted import Counted, counts_in_words
    from lungvae_core.data.crops import stated_range
    from lungvae_core.data.importing import import_arrays, import_manifest

    hu_range = stated_range(hu_low, hu_high)
    if manifest is not None and hu_range is not None:
        raise UserError(
            "--hu-low and --hu-high are of --slices; a manifest has the columns hu_low and hu_high."
        )
    options: dict[str, Any] = {
        "nodules": _nodule_rule(one_nodule_per_patient, one_nodule_per_slice),
        "name": name,
        "attribution": attribution,
        "overwrite": overwrite,
    }
    if manifest is not None and slices is None and table is None and masks is None:
        made = import_manifest(manifest, out, **options)
    elif manifest is None and slices is not None and table is not None:
        made = import_arrays(slices, table, out, masks=masks, hu_range=hu_range, **options)
    else:
        raise UserError("Give either --slices and --table (and --masks), or --manifest alone.")
    print(f"{out}: {counts_in_words(made.table)}, hash {made.info.content_hash[:12]}.")
    read = made.info.details["import"]
    print(Counted(used=read["rows"], left_out=read["left_out"], unit="rows").in_words())
    for note in read["notes"]:
        print(f"  {note}")


def _nodule_rule(one_per_patient: bool, one_per_slice: bool) -> NoduleRule:
    if one_per_patient and one_per_slice:
        raise UserError("--one-nodule-per-patient and --one-nodule-per-slice exclude each other.")
    return "one_per_patient" if one_per_patient else "one_per_slice" if one_per_slice else "column"


@app.command()
def info(data: Annotated[Path, typer.Argument(help="A data set's folder.")]) -> None:
    """Describe a data set: what it holds, its source, and how its table was read."""
    from lungvae_core.data.counted import Counted, counts_in_words, left_out_before
    from lungvae_core.data.slices import SliceSet

    opened = SliceSet.open(data)
    described = opened.info
    print(f"{described.name}: {described.source}; {described.rule}.")
    print(f"{counts_in_words(opened.table)}.")
    print(Counted(used=len(opened), left_out=left_out_before(described.details)).in_words())
    print(f"Columns: {', '.join(map(str, opened.table.columns))}.")
    read = described.details.get("import")
    for note in [*(read.get("notes", ()) if isinstance(read, dict) else ()), *opened.notes]:
        print(f"  {note}")


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    factors: Annotated[
        str,
        typer.Option(
            help="How factors are drawn: `lidc`, from the readers' ratings of the real nodules, or "
            "`independent`, uniform and independent of each other."
        ),
    ] = "lidc",
    count: Annotated[int | None, typer.Option(help="How many slices. Default: 13852, the cohort's.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data set.")] = 0,
    workers: Processes = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --out.")] = False,
) -> None:
    """Make a data set of synthetic nodules that look like CT, each with known factors."""
    from lungvae_core.data.cohort import cohort
    from lungvae_core.data.phantom import make_phantom

    with task_bars() as progress:
        made = make_phantom(
            out,
            seed=seed,
            factors=factors,
            count=count,
            workers=workers,
            overwrite=overwrite,
            cohort=lambda: cohort(progress=partial(progress, "Patients"), workers=workers),
            progress=partial(progress, "Slices"),
        )
    nodules = len(made.table[["patient_id", "nodule"]].drop_duplicates())
    print(
        f"{out}: {len(made):,} generated slices of {nodules:,} nodules, hash {made.info.content_hash[:12]}."
    )
