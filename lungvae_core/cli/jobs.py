"""`lungvae jobs`: list, show, stop and resume the app's background jobs without a browser."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app

if TYPE_CHECKING:
    from lungvae_core.serving.jobs.table import Job

JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's number in `lungvae jobs list`.")]

group = typer.Typer(help="Trainings and other work that the app started.", no_args_is_help=True)
app.add_typer(group, name="jobs")


@group.command("list")
def list_() -> None:
    """List all jobs, the newest first."""
    from lungvae_core.serving.jobs.queue import Jobs

    queue = Jobs()
    jobs, refused = queue.all(), queue.refused()
    for job in jobs:
        print(
            f"{job.id:>4}  {job.status:<9} {job.kind:<11} {job.name:<24} {_when(job.created)}  "
            f"{job.who or '-'}  {job.message}".rstrip()
        )
    for reason in refused:
        print(reason)
    if not jobs and not refused:
        print("There is no job yet. Start one on the Train page.")


@group.command()
def show(
    job_id: JobId,
    lines: Annotated[int, typer.Option(min=0, help="How many of its last lines to print.")] = 20,
) -> None:
    """Show a job: its state, its command, and the last lines of its output."""
    from lungvae_core.serving.jobs.queue import Jobs

    jobs = Jobs()
    job = jobs.get(job_id)
    print(f"Job {job.id}, {job.kind} {job.name}: {job.status}. {job.message}".rstrip())
    facts: list[tuple[str, Any]] = [("Folder", job.folder), ("Asked by", job.who)]
    facts += [("Command", f"lungvae {' '.join(job.argv)}"), ("Output", job.log), ("Process", job.pid)]
    times = (("Queued", job.queued), ("Started", job.started), ("Ended", job.ended))
    facts += [(name, moment and _when(moment)) for name, moment in times]
    for name, fact in facts:
        if fact:
            print(f"{name:<8} {fact}")
    if job.kind == "training":
        _print_progress(job)
    if lines:
        print("\n" + jobs.output(job, lines))


@group.command()
def stop(job_id: JobId) -> None:
    """Stop a job; a training first finishes its batch and writes a checkpoint."""
    from lungvae_core.serving.jobs.queue import Jobs

    job = Jobs().stop(job_id)
    print(f"Job {job.id}, {job.name}: {job.status}.")


@group.command()
def resume(job_id: JobId) -> None:
    """Resume a stopped or failed job where it ended, a training from its last checkpoint."""
    from lungvae_core.serving.jobs.queue import Jobs

    job = Jobs().resume(job_id)
    print(f"Job {job.id}, {job.name}: {job.status}.")


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="A run's name in runs/.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a run with its weights, codes and maps permanently; refused while anything uses it."""
    from lungvae_core.serving.jobs.removal import delete_run
    from lungvae_core.serving.workspace.settings import Settings

    if not yes:
        typer.confirm(f"Delete the run {name} for good?", abort=True)
    delete_run(Settings(), name)
    print(f"{name} is deleted.")


def _print_progress(job: Job) -> None:
    from lungvae_core.serving.jobs.progress import read_state

    state = read_state(job.folder)
    if state is None:
        return
    print(f"Epoch    {state.epoch} of {state.config.epochs}, {state.fraction:.0%}, {state.phase}")
    if state.rows:
        held_out = state.rows[-1]["validation"]
        print(
            f"Held out SSIM {held_out['ssim']:.3f}, MSE {held_out['mse']:.5f} (both on 0..1 of the HU "
            f"window), KL {held_out['kl']:.1f} nats, {held_out['active_units']} active units"
        )
    for warning in state.warnings:
        print(warning)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
