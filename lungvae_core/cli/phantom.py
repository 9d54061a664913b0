"""`lungvae phantom`: synthetic nodules with known factors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Processes
from lungvae_core.cli.progress import task_bars


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
