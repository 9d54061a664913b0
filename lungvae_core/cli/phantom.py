"""`lungvae phantom`: synthetic nodules with known factors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    factors: Annotated[
        str,
        typer.Option(
            help="Where the factors come from: `lidc`, the readers' ratings of the real nodules, or "
            "`independent`, uniform and independent of each other."
        ),
    ] = "lidc",
    count: Annotated[
        int | None, typer.Option(help="How many slices. Default: 13852, the cohort's.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data set.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes to use. Default: one a core.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --out.")] = False,
) -> None:
    """Make a data set of synthetic nodules that look like CT, each with known factors."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from lungvae_core.data.cohort import cohort
    from lungvae_core.data.phantom import make_phantom

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bar.start()  # not before: options that are refused need no bar
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)

    try:
        made = make_phantom(
            out,
            seed=seed,
            factors=factors,
            count=count,
            workers=workers,
            overwrite=overwrite,
            cohort=lambda: cohort(progress=partial(report, "Patients"), workers=workers),
            progress=partial(report, "Slices"),
        )
    finally:
        if tasks:
            bar.stop()
    nodules = len(made.table[["patient_id", "nodule"]].drop_duplicates())
    print(
        f"{out}: {len(made):,} generated slices of {nodules:,} nodules, hash {made.info.content_hash[:12]}."
    )
