"""Delete a run for good: refused while anything uses it, and never left half done."""

from __future__ import annotations

import fcntl
import secrets
import shutil

from lungvae_core.errors import UserError
from lungvae_core.files import DELETED, holding
from lungvae_core.serving.jobs.queue import NAME, Jobs
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.database import session
from lungvae_core.serving.workspace.settings import Settings


def delete_run(settings: Settings, name: str) -> None:
    """Delete the run `name` with its weights, codes and maps, and record it in the audit log.

    UserError if there is no such run, it ships with the project, or a job or command is using it. If two
    people delete a run at once, the second gets this error.
    """
    folder = settings.runs.resolve() / name
    if not NAME.fullmatch(name) or not (folder / "config.json").is_file():
        if NAME.fullmatch(name) and (settings.models / name).exists():
            raise UserError(f"{name} ships with the project and is not deleted from here.")
        raise UserError(f"There is no run {name[:64]!r}; somebody may have deleted it.")
    for job in Jobs(settings).all():
        if job.active and (job.folder == str(folder) or folder.resolve() in job.uses):
            raise UserError(
                f"{name} is in use: job {job.id}, {job.kind} {job.name}, is {job.status}. Stop it, or wait."
            )
    gone = folder.with_name(f".{name}.{secrets.token_hex(4)}{DELETED}")
    try:
        with (folder / ".lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"{name} is in use: a command writes in it. Wait until it ends.") from error
            with session(settings) as opened:
                opened.add(audit.line(audit.DELETE, f"run {name}"))
                opened.flush()  # record first; without a record nothing is deleted
                folder.rename(gone)
            with holding(gone):
                shutil.rmtree(gone, ignore_errors=True)
    except FileNotFoundError as error:
        raise UserError(f"There is no run {name!r} any more; somebody has just deleted it.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be deleted: {error.strerror}.") from error
