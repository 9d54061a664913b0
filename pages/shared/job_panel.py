"""Background jobs on a page: start, follow, stop and resume them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import FAILED, STOPPED, STOPPING, Job
from pages.shared import access

Result = TypeVar("Result")


@dataclass(frozen=True)
class JobPanel:
    """The jobs of one page, shown in one of its views."""

    page: str  # prefix of the page's keys in the session state
    view: str  # the view that shows the jobs
    remember: Callable[[Job], None]  # writes a job to the address
    stop_help: str
    resume_help: str

    def act(self, what: Callable[..., Job], *arguments: Any) -> None:
        """Start, stop or resume a job; on success switch to the view of the jobs."""
        job = self.attempt(access.WORK, what, *arguments)
        if job is not None:
            st.session_state[f"{self.page}-view"] = self.view
            self.remember(job)

    def attempt(self, right: str, what: Callable[..., Result], *arguments: Any) -> Result | None:
        """Do what needs `right` of `access`; `show_error` shows why it failed, until the next attempt."""
        self.forget_error()
        try:
            with access.allowed(right):
                return what(*arguments)
        except UserError as error:
            st.session_state[f"{self.page}-error"] = str(error)
            return None

    def show_error(self) -> None:
        """Show the error of the last attempt, if it failed."""
        if message := st.session_state.get(f"{self.page}-error"):
            st.error(message)

    def forget_error(self) -> None:
        """Forget the error of the last attempt."""
        st.session_state.pop(f"{self.page}-error", None)

    def rerun_when_changed(self, jobs: Iterable[Job]) -> None:
        """Rerun the whole page when a job starts or ends, because its refresh rate depends on that."""
        active = {job.id for job in jobs if job.active}
        before = st.session_state.get(f"{self.page}-active", active)
        st.session_state[f"{self.page}-active"] = active
        if before != active:
            st.rerun()

    def stop_or_resume(self, jobs: Jobs, job: Job) -> None:
        """Draw the button that applies, if any; generating data cannot be resumed."""
        if job.active:
            st.button(
                "Stop",
                key=f"{self.page}-stop-{job.id}",
                icon=":material/stop:",
                disabled=job.status == STOPPING,
                on_click=self.act,
                args=(jobs.stop, job.id),
                help=self.stop_help,
            )
        elif job.kind != Phantom.kind and job.status in (STOPPED, FAILED):
            st.button(
                "Resume",
                key=f"{self.page}-resume-{job.id}",
                icon=":material/play_arrow:",
                on_click=self.act,
                args=(jobs.resume, job.id),
                help=self.resume_help,
            )
