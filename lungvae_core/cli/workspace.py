"""`lungvae audit`, `backup`, `restore` and `tidy`: look after a server's files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungvae_core.cli import app

if TYPE_CHECKING:
    from lungvae_core.serving.export.backup import Summary


@app.command()
def audit(
    who: Annotated[str, typer.Option(help="Only lines of this person.")] = "",
    what: Annotated[
        str,
        typer.Option(
            help="Only lines of this kind: sign-in, sign-out, session-end, upload, job-start, job-stop, "
            "job-resume, delete, refused, server-start."
        ),
    ] = "",
    since: Annotated[str, typer.Option(help="Only lines since a day or moment, UTC: 2026-01-31.")] = "",
    lines: Annotated[int, typer.Option(min=0, help="How many, the newest first; 0: all.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """Print this workspace's audit log; it has the sizes of uploads, not their contents or names."""
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


@app.command()
def backup(
    out: Annotated[Path, typer.Option(help="File to write; must not exist.")],
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Include the data sets: large, and real patients' slices.")
    ] = False,
) -> None:
    """Write database, evaluations, logs and runs to one file; the server may run meanwhile."""
    from lungvae_core.serving.export.backup import back_up
    from lungvae_core.serving.workspace.settings import Settings

    _print_backup(f"{out}:", back_up(Settings(), out, with_data=with_data))


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `lungvae backup` wrote.")],
    check: Annotated[bool, typer.Option("--check", help="Only check the file; write nothing.")] = False,
) -> None:
    """Restore a backup into the folders in use, which must be empty; stop the server first."""
    from lungvae_core.serving.export import backup as backups
    from lungvae_core.serving.workspace.settings import Settings

    settings = Settings()
    made = backups.check(archive, settings) if check else backups.restore(archive, settings)
    state = "is whole" if check else f"restored into {settings.workspace} and {settings.runs}"
    _print_backup(f"{archive} {state}:", made)


def _print_backup(heading: str, made: Summary) -> None:
    print(f"{heading} {made.files:,} files, {made.size / 1e6:,.1f} MB, as of {made.created}.")
    for reason in made.left_out:
        print(f"Left out: {reason}")


@app.command()
def tidy(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders to search; default: models, runs, data, workspace and the temporary folder.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only listed.")] = False,
) -> None:
    """List and remove unfinished files of killed commands; files of running processes stay."""
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
