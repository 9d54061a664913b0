"""Jobs on a page: started, stopped and resumed by those who may, with the error of the last attempt."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.jobs.kinds import Training
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace.access import Person, Role
from pages.shared import access
from tests.pages.conftest import press, run, text


def page() -> None:
    import streamlit as st

    from lungvae_core.serving.jobs.kinds import Phantom
    from lungvae_core.serving.jobs.queue import Jobs
    from pages.shared.job_panel import JobPanel

    panel = JobPanel("work", "New", "Jobs", stop_help="", resume_help="", address="job")
    form = panel.form_picked(jobs_at_first=False)
    panel.show_error()
    name = st.session_state.get("name", "made")
    st.button("Make", on_click=panel.act, args=(lambda: Jobs().start(Phantom.of, name, 3),))
    if not form:
        for job in Jobs().all():
            panel.show_status(job, f"**{job.name}**")
            panel.show_output(Jobs(), job)
            panel.stop_or_resume(Jobs(), job)


@pytest.fixture(autouse=True)
def stillborn(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs whose process never comes to life."""
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)


def opened() -> AppTest:
    return run(AppTest.from_function(page, default_timeout=60))


def view(app: AppTest) -> str:
    return app.segmented_control(key="work-view").value


def test_what_was_started_is_shown_and_named_in_the_address():
    app = press(opened(), "Make")
    (job,) = Jobs().all()
    assert view(app) == "Jobs"
    assert app.query_params["job"] in (str(job.id), [str(job.id)])
    assert "**made**: failed." in app.error[0].value  # nothing keeps it
    assert job.log in text(app)
    assert not [button for button in app.button if button.label == "Resume"]  # generated data cannot be


def test_an_error_is_shown_until_the_next_attempt_or_another_view():
    app = opened()
    app.session_state["name"] = "../up"
    press(run(app), "Make")
    assert view(app) == "New"
    assert "cannot be the name" in app.error[0].value
    run(app.segmented_control(key="work-view").set_value("Jobs"))
    run(app.segmented_control(key="work-view").set_value("New"))
    assert not app.error


def test_a_viewer_starts_nothing(monkeypatch):
    monkeypatch.setattr(access, "person", lambda: Person("v@b.org", Role.VIEWER))
    app = press(opened(), "Make")
    assert "Only researchers may start" in app.error[0].value
    assert Jobs().all() == []


def test_a_training_that_failed_can_be_resumed(tiny_data):
    job = Jobs().start(Training.of, "mine", tiny_data, "gvae", {}, device="cpu")
    app = opened()
    run(app.segmented_control(key="work-view").set_value("Jobs"))
    press(app, "Resume")
    assert Jobs().get(job.id).attempt == 2
