"""`lungvae tidy`: list and remove what killed processes left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app


@app.command()
def tidy(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders to look through; default: models, runs, data, "
            "workspace and the system's temporary folder.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only told.")] = False,
) -> None:
    """Say what killed commands left half-made, and remove it; never what a living process holds."""
    from lungvae_core.serving.workspace import tidy as tidying
    from lungvae_core.serving.workspace.settings import Settings

    left = tidying.leftovers(folders or tidying.default_folders(Settings()))
    for each in left:
        done = tidying.clear(each) if yes and not each.held else None
        print(f"{each.path}: {each.in_words}" + ("" if done is None else f" {done}"))
    if not left:
        print("Nothing is left over.")
    elif not yes and not all(each.held for each in left):
        print("Nothing was changed. Add --yes to do it.")
