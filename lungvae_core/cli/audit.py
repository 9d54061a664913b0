"""`lungvae audit`: who signed in, uploaded, started, stopped and deleted, and when."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lungvae_core.cli import app


@app.command()
def audit(
    who: Annotated[str, typer.Option(help="Only this person's lines.")] = "",
    what: Annotated[
        str,
        typer.Option(
            help="Only lines of this kind: sign-in, sign-out, session-end, upload, job-start, job-stop, "
            "job-resume, delete, refused, server-start."
        ),
    ] = "",
    since: Annotated[str, typer.Option(help="Only lines since a day or moment, UTC: 2026-01-31.")] = "",
    lines: Annotated[int, typer.Option(min=0, help="How many, the newest first; 0: all.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """Print the audit log of this workspace; uploads are counted in it, their content and names are not."""
    from lungvae_core.serving.workspace import audit as log
    from lungvae_core.serving.workspace.settings import Settings

    recorded = log.read(Settings(), who=who, what=what, since=since, most=lines or None)
    for line in recorded:
        if as_json:
            print(json.dumps(asdict(line), ensure_ascii=False))
        else:
            print(f"{line.at[:19]}Z  {line.what:<12} {line.who:<32} {line.detail}".rstrip())
    if not recorded and not as_json:
        print("Nothing is on record.")
