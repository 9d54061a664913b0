"""The Evaluation page's form, and the evaluations that run in the background: progress, stop, go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from lungvae_core.data.diagnoses import KINDS
from lungvae_core.data.labels import RULES, TASKS
from lungvae_core.errors import UserError
from lungvae_core.number_text import duration, plural
from lungvae_core.serving import form
from lungvae_core.serving.datasets import FoundData, find_data
from lungvae_core.serving.evaluations import (
    PROTOCOLS,
    REPORT,
    evaluations_folder,
    find_reports,
    read_progress,
)
from lungvae_core.serving.jobs import EVALUATION, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job, Jobs
from lungvae_core.serving.settings import Settings
from lungvae_core.vae.config import PRESETS
from lungvae_core.workers import cores
from pages import access

NEW, RESULTS = "New evaluation", "Reports"
REFRESH_SECONDS = 3
STEPS = {
    "training": "Training the folds' models",
    "baselines": "Fitting the baselines",
    "classifiers": "Fitting the classifiers",
    "figures": "Working out figures and intervals",
}
WORDS = {
    QUEUED: "waits for its turn",
    RUNNING: "is running",
    STOPPING: "is stopping",
    FAILED: "failed",
    STOPPED: "was stopped; it can go on where it was",
}


def act(what: Any, *arguments: Any) -> None:
    """Do something with a job; what goes wrong is shown on the next run of the page."""
    st.session_state.pop("evaluation-error", None)
    try:
        with access.allowed(access.WORK):
            what(*arguments)
    except UserError as error:
        st.session_state["evaluation-error"] = str(error)
    else:
        st.session_state["evaluation-view"] = RESULTS


def start(name_key: str) -> None:
    """Start what the form holds."""
    state = st.session_state
    act(
        lambda: Jobs().start_evaluation(
            state["evaluation-data"].folder,
            state["evaluation-preset"],
            state[name_key].strip(),
            task=state["evaluation-task"],
            label_rule=state["evaluation-rule"],
            protocol=state["evaluation-protocol"],
            seed=state["evaluation-seed"],
            seeds=state["evaluation-seeds"],
            quick=state["evaluation-quick"],
            nested=state["evaluation-nested"] if state["evaluation-protocol"] == "paper" else None,
            diagnoses=state["evaluation-diagnoses"].strip() or None,
            device=state["evaluation-device"],
            workers=state["evaluation-workers"],
        )
    )


def new_evaluation() -> None:
    """The form that starts an evaluation."""
    settings = Settings()
    sets, broken = find_data(settings)
    for name, reason in broken.items():
        st.warning(f"The data set {name} was left out. {reason}")
    sets = [data for data in sets if not data.generated] + [data for data in sets if data.generated]
    if not sets:
        st.info(f"There is no data set in {settings.data} yet. The Train page tells how to make one.")
        return
    reports, _ = find_reports(settings)
    nested = [None, *(one.path for one in reports if one.protocol == "nested")]
    name = Jobs(settings).suggest("evaluation", among=evaluations_folder(settings))
    with st.form("evaluation-form", enter_to_submit=False):
        left, right = st.columns(2)
        left.selectbox("Data", sets, format_func=_describe, key="evaluation-data")
        right.selectbox(
            "Preset",
            list(PRESETS),
            index=list(PRESETS).index("dirvae"),
            key="evaluation-preset",
            help="Trained anew in every fold. Other settings: `lungvae evaluate --set`.",
        )
        left, right = st.columns(2)
        left.selectbox(
            "Protocol",
            list(PROTOCOLS),
            key="evaluation-protocol",
            format_func=lambda key: f"{key}: {PROTOCOLS[key]}",
        )
        right.selectbox(
            "Label rule",
            list(RULES),
            key="evaluation-rule",
            help="\n\n".join(f"{key}: {RULES[key]}" for key in RULES),
        )
        columns = st.columns(4)
        columns[0].selectbox(
            "Task", list(TASKS), key="evaluation-task", format_func=lambda key: f"{key}: {TASKS[key]}"
        )
        columns[1].number_input(
            "Seeds",
            1,
            100,
            1,
            key="evaluation-seeds",
            help="Trainings a fold, whose logits are averaged; the report has each one's AUC. At least 5 "
            "before one model is called better than another.",
        )
        columns[2].number_input("First seed", 0, 2**31 - 1, 0, key="evaluation-seed")
        columns[3].toggle(
            "Quick",
            key="evaluation-quick",
            help="Few epochs, minutes on two cores: to see that it runs. Not to be quoted.",
        )
        machine = st.columns(3)
        machine[2].selectbox(
            "Leak table begins with",
            nested,
            format_func=lambda path: "nothing" if path is None else f"{path.parent.name}/{path.name}",
            key="evaluation-nested",
            help="For the protocol paper: a nested report of the same preset, data, task, rule and seeds.",
        )
        machine[0].selectbox("Device", form.devices(), key="evaluation-device")
        machine[1].number_input(
            "Trainings at once",
            1,
            cores(),
            max(1, cores() - 1),
            key="evaluation-workers",
            help="Folds and seeds side by side. One core is left to this app unless you say otherwise.",
        )
        st.text_input(
            "Table of confirmed diagnoses (optional)",
            key="evaluation-diagnoses",
            placeholder="/data/diagnosis.csv",
            help="A csv, Excel or parquet file on this server, a row a patient: patient_id, and diagnosis "
            f"({', '.join(f'{code} {kind}' for code, kind in KINDS.items())}). The report then says how well "
            "model, readers and size rank these patients by it. For the protocols nested and frozen.",
        )
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        left.text_input("Name of the evaluation", name, key=f"evaluation-name-{name}")
        right.form_submit_button(
            "Start evaluation",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            on_click=start,
            args=(f"evaluation-name-{name}",),
            key="evaluation-start",
        )
    st.caption(
        "`nested` trains the VAE once a fold and seed: hours on two cores. It runs in the background, can be "
        "stopped, and goes on where it was. The same from a terminal: `lungvae evaluate`."
    )


def open_jobs() -> list[Job]:
    """The evaluations that have not ended well: waiting, running, stopped, failed. Newest first."""
    return [job for job in Jobs().all() if job.kind == EVALUATION and job.status in WORDS]


def watch() -> None:
    """Show the evaluations that are not done; run the whole page when one has begun or ended."""
    jobs = Jobs()
    found = open_jobs()
    active = {job.id for job in found if job.active}
    before = st.session_state.get("evaluation-active", active)
    st.session_state["evaluation-active"] = active
    if before != active:
        st.rerun()
    for job in found:
        with st.container(border=True):
            _show(jobs, job)


def _show(jobs: Jobs, job: Job) -> None:
    """One evaluation: its state, how far it is, and Stop or Resume."""
    left, right = st.columns([4, 1], vertical_alignment="center")
    asked = job.request
    said = (
        f"**{job.name}**: {asked['preset']}, {asked['protocol']}, {asked['task']}, "
        f"{asked['label_rule']}, {plural(asked['seeds'], 'seed')}{', quick' * asked['quick']}; "
        f"{WORDS[job.status]}. "
        f"{job.message}"
    )
    (left.error if job.status == FAILED else left.markdown)(said)
    with right:
        if job.active:
            st.button(
                "Stop",
                key=f"evaluation-stop-{job.id}",
                icon=":material/stop:",
                disabled=job.status == STOPPING,
                on_click=act,
                args=(jobs.stop, job.id),
                help="What is done is kept.",
            )
        else:
            st.button(
                "Resume",
                key=f"evaluation-resume-{job.id}",
                icon=":material/play_arrow:",
                on_click=act,
                args=(jobs.resume, job.id),
                help="Folds that are done count; the others go on.",
            )
    progress = read_progress(Path(job.folder) / REPORT)
    if progress is not None:
        told = f"{STEPS.get(progress.what, progress.what)}: {progress.done:.0f} of {progress.total:.0f}"
        if job.status == RUNNING and progress.seconds_left is not None:
            told += f", about {duration(progress.seconds_left)} left"
        st.progress(progress.fraction, text=told)
    if job.status == FAILED:
        with st.expander("Output"):
            st.code(jobs.output(job, 15) or "No output.", language=None)


def _describe(data: FoundData) -> str:
    kind = ", generated" if data.generated else ""
    return f"{data.name} ({data.folder.name}): {data.slices:,} slices, {data.patients:,} patients{kind}"
