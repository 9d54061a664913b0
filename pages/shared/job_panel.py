"""Background jobs on a page: begun, followed, stopped and resumed there."""

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
    """The jobs of one page, which shows them in one of its views."""

    page: str  # the page's keys in the session's state begin with it
    view: str  # the view of the jobs
    remember: Callable[[Job], None]  # writes a job to the address
    stop_help: str
    resume_help: str

    def act(self, what: Callable[..., Job], *arguments: Any) -> None:
        """Start, stop or resume a job, and turn to the jobs if that could be done."""
        job = self.attempt(access.WORK, what, *arguments)
        if job is not None:
            st.session_state[f"{self.page}-view"] = self.view
            self.remember(job)

    def attempt(self, right: str, what: Callable[..., Result], *arguments: Any) -> Result | None:
        """Do what takes `right` of `access`; `show_error` says why it failed, until the next attempt."""
        self.forget_error()
        try:
            with access.allowed(right):
                return what(*arguments)
        except UserError as error:
            st.session_state[f"{self.page}-error"] = str(error)
            return None

    def show_error(self) -> None:
        """The sentence that the last attempt ended with, if it failed."""
        if message := st.session_state.get(f"{self.page}-error"):
            st.error(message)

    def forget_error(self) -> None:
        """Let the last attempt's failure be."""
        st.session_state.pop(f"{self.page}-error", None)

    def rerun_when_changed(self, jobs: Iterable[Job]) -> None:
        """Run the whole page when a job has begun or ended: the page's pace depends on it."""
        active = {job.id for job in jobs if job.active}
        before = st.session_state.get(f"{self.page}-active", active)
        st.session_state[f"{self.page}-active"] = active
        if before != active:
            st.rerun()

    def stop_or_resume(self, jobs: Jobs, job: Job) -> None:
        """The button that applies, if one does; generated data cannot go on where its making stopped."""
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
