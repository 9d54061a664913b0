"""`lungvae import` and `lungvae info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError


@app.command("import")
def import_(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    slices: Annotated[Path | None, typer.Option(help="npy, (N, 64, 64) in HU.")] = None,
    masks: Annotated[Path | None, typer.Option(help="npy, (N, 64, 64) of 0/1 or (N, 512) bits.")] = None,
    table: Annotated[Path | None, typer.Option(help="csv or parquet, a row a slice.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="csv listing image files instead.")] = None,
    name: Annotated[str, typer.Option(help="The data set's name; by default the folder's.")] = "",
    attribution: Annotated[str, typer.Option(help="To whom the data are owed.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing --out.")] = False,
) -> None:
    """Make a data set of arrays with a table, or of image files listed in a manifest."""
    from lungvae_core.data.importing import import_arrays, import_manifest

    if manifest is not None and slices is None and table is None and masks is None:
        made = import_manifest(manifest, out, name=name, attribution=attribution, overwrite=overwrite)
    elif manifest is None and slices is not None and table is not None:
        made = import_arrays(
            slices, table, out, masks=masks, name=name, attribution=attribution, overwrite=overwrite
        )
    else:
        raise UserError("Give either --slices and --table (and --masks), or --manifest alone.")
    patients = made.table["patient_id"].nunique()
    print(f"{out}: {len(made):,} slices of {patients:,} patients, hash {made.info.content_hash[:12]}.")
