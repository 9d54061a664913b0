"""`lungvae export-explorer`: a model's explorer as one file that needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Model
from lungvae_core.cli.progress import progress_bar


@app.command("export-explorer")
def export_explorer(
    model: Model,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("explorer.html"),
    ct: Annotated[
        bool,
        typer.Option(
            "--ct",
            help="Put CT slices into the file, where this machine has them. By default every image is "
            "generated, so that the file shows no patient.",
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
