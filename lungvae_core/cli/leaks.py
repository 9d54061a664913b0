"""`lungvae leaks`: what the parts of any split share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError


@app.command()
def leaks(
    split: Annotated[Path, typer.Argument(help="A csv, xlsx or parquet table: patient_id, split (or fold).")],
    images: Annotated[
        Path | None,
        typer.Option(help="A data set, an npy stack (N, 64, 64), or the folder of column `file`."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the offending pairs to this csv file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count patients, scans, nodules and pictures that two parts of a split share; exit code 1 if any."""
    from lungvae_core.csv_files import csv_bytes
    from lungvae_core.evaluation.leaks import find_leaks
    from lungvae_core.files import atomic_path

    if out is not None and (out.suffix.lower() != ".csv" or out.is_dir()):
        raise UserError(f"The offending pairs are a csv file; {out} is not named like one.")
    report, pairs = find_leaks(split, images)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_bytes(csv_bytes(pairs))
    if json_:
        print(report.model_dump_json(indent=2))
    else:
        for part, counts in report.parts.items():
            print(f"{part}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
        print(report.rows.in_words())
        for note in report.notes:
            print(note)
        print(f"Compared: {', '.join(report.compared)}.")
        for one in report.shared:
            print(f"LEAK: {one.in_words()}")
        if report.clean:
            print("No leak: the parts share nothing that was compared.")
        if "pictures" not in report.compared:
            print("Pixels were not compared; --images does.")
    if not report.clean:
        raise typer.Exit(1)
