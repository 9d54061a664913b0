"""Background jobs on a page: start, follow, stop and resume them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job
from pages.shared import access, url

Result = TypeVar("Result")
STATUS = {
    QUEUED: "waiting for its turn",
    RUNNING: "running",
    STOPPING: "stopping",
    DONE: "finished",
    FAILED: "failed",
    STOPPED: "stopped",
}


@dataclass(frozen=True)
class JobPanel:
    """The jobs of one page, which shows either them or the form that starts one."""

    page: str  # prefix of the page's keys in the session state
    form_view: str
    jobs_view: str
    stop_help: str
    resume_help: str
    address: str = ""  # the parameter that names the picked job, if the address has it
    value: Callable[[Job], str] = lambda job: str(job.id)  # of that parameter
    jobs_left: bool = False  # whether the button for the jobs is on the left

    def form_picked(self, *, jobs_at_first: bool) -> bool:
        """Draw the buttons for both views and return whether the form is to be shown."""
        views = [self.form_view, self.jobs_view]
        st.session_state.setdefault(f"{self.page}-view", views[jobs_at_first])
        view = st.segmented_control(
            "View",
            views[::-1] if self.jobs_left else views,
            key=f"{self.page}-view",
            required=True,
            label_visibility="collapsed",
            on_change=self.forget_error,
        )
        return view == self.form_view

    def pick(self, label: str, options: Iterable[str]) -> str:
        """Draw the select box of jobs, kept in the address; see `url.selectbox`."""
        return url.selectbox(self.address, label, options, key=f"{self.page}-picked")

    def act(self, what: Callable[..., Job], *arguments: Any) -> None:
        """Start, stop or resume a job; on success switch to the view of the jobs and pick it there."""
        job = self.attempt(access.WORK, what, *arguments)
        if job is not None:
            st.session_state[f"{self.page}-view"] = self.jobs_view
            if self.address:
                url.write(self.address, self.value(job))
                st.session_state[f"{self.page}-picked"] = self.value(job)

    @staticmethod
    def show_status(job: Job, name: str) -> None:
        """State the status of a job in a sentence."""
        show = st.error if job.status == FAILED else st.markdown
        show(f"{name}: {STATUS[job.status]}. {job.message}")

    @staticmethod
    def show_output(jobs: Jobs, job: Job) -> None:
        """Show the last lines of a job's output, at once if it failed."""
        with st.expander("Output", expanded=job.status == FAILED):
            st.code(jobs.output(job, 15) or "Nothing yet.", language=None)
            st.caption(f"The whole of it: {job.log}")

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
