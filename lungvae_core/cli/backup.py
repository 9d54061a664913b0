"""`lungvae backup` and `lungvae restore`: save all that a server made in one file, and restore it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app


@app.command()
def backup(
    out: Annotated[Path, typer.Option(help="File to write; must not exist.")],
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Also the data sets: real patients' slices, and large.")
    ] = False,
) -> None:
    """Write database, evaluations, logs and runs to one file; the server may run meanwhile."""
    from lungvae_core.serving.export.backup import back_up
    from lungvae_core.serving.workspace.settings import Settings

    made = back_up(Settings(), out, with_data=with_data)
    print(f"{out}: {made.files:,} files, {made.size / 1e6:,.1f} MB, as of {made.created}.")
    for reason in made.left_out:
        print(f"Left out: {reason}")


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `lungvae backup` wrote.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether it is whole; write nothing.")
    ] = False,
) -> None:
    """Bring a backup back into the folders in use, which must be empty; stop the server before."""
    from lungvae_core.serving.export import backup as backups
    from lungvae_core.serving.workspace.settings import Settings

    settings = Settings()
    made = backups.check(archive, settings) if check else backups.restore(archive, settings)
    where = "is whole" if check else f"restored into {settings.workspace} and {settings.runs}"
    print(f"{archive} {where}: {made.files:,} files, {made.size / 1e6:,.1f} MB, as of {made.created}.")
    for reason in made.left_out:
        print(f"Left out: {reason}")
