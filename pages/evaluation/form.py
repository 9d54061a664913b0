"""The Evaluation page's form and its background evaluations: progress, stop and resume."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import streamlit as st

from lungvae_core.data.diagnoses import KINDS
from lungvae_core.data.labels import RULES, TASKS
from lungvae_core.evaluation.protocols.config import EvaluationConfig, Protocol
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.number_text import duration, plural
from lungvae_core.serving.jobs import form
from lungvae_core.serving.jobs.evaluations import REPORT, evaluations_folder, find_reports, read_progress
from lungvae_core.serving.jobs.kinds import Evaluation
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, RUNNING, Job
from lungvae_core.serving.workspace.datasets import FoundData
from lungvae_core.serving.workspace.settings import Settings
from pages.shared import setting_fields
from pages.shared.job_panel import JobPanel

NEW = "New evaluation"
REFRESH_SECONDS = 3
STEPS = {
    "training": "Training the folds' models",
    "baselines": "Fitting the baselines",
    "classifiers": "Fitting the classifiers",
    "figures": "Working out figures and intervals",
}
JOBS = JobPanel(
    "evaluation",
    NEW,
    "Reports",
    jobs_left=True,
    stop_help="What is done is kept.",
    resume_help="Finished folds are kept; the others continue.",
)


def start(name_key: str) -> None:
    """Start the evaluation that the form describes."""
    state = st.session_state
    as_set = ("task", "protocol", "seed", "seeds", "quick", "device", "workers")
    options = {name: state[f"evaluation-{name}"] for name in as_set}
    JOBS.act(
        lambda: Jobs().start(
            Evaluation.of,
            state[name_key].strip(),
            state["evaluation-data"].folder,
            state["evaluation-preset"],
            label_rule=state["evaluation-rule"],
            nested=state["evaluation-nested"] if options["protocol"] == "paper" else None,
            diagnoses=state["evaluation-diagnoses"].strip() or None,
            **options,
        )
    )


def new_evaluation() -> None:
    """Draw the form that starts an evaluation."""
    settings = Settings()
    data_sets = sorted(setting_fields.data_sets(), key=lambda data: data.generated)
    if not data_sets:
        st.info(f"There is no data set in {settings.data} yet. The Train page says how to make one.")
        return
    reports, _ = find_reports(settings)
    nested = [None, *(one.path for one in reports if one.protocol == "nested")]
    name = Jobs(settings).suggest("evaluation", among=evaluations_folder(settings))
    with st.form("evaluation-form", enter_to_submit=False):
        left, right = st.columns(2)
        left.selectbox("Data", data_sets, format_func=FoundData.in_words, key="evaluation-data")
        help = "Trained again in every fold. Other settings: `lungvae evaluate --set`."
        setting_fields.preset(right, "evaluation-preset", help)
        left, right = st.columns(2)
        protocols = {name: PROTOCOLS[name].in_short for name in get_args(Protocol)}
        setting_fields.described(left, "Protocol", protocols, "evaluation-protocol")
        right.selectbox(
            "Label rule",
            list(RULES),
            key="evaluation-rule",
            help="\n\n".join(f"{key}: {RULES[key]}" for key in RULES),
        )
        columns = st.columns(4)
        setting_fields.described(columns[0], "Task", TASKS, "evaluation-task")
        for column, setting in zip(columns[1:], ("seeds", "seed", "quick"), strict=True):
            setting_fields.show(column, form.setting_of(EvaluationConfig, setting), f"evaluation-{setting}")
        machine = st.columns(3)
        machine[2].selectbox(
            "Leak table begins with",
            nested,
            format_func=lambda path: "nothing" if path is None else f"{path.parent.name}/{path.name}",
            key="evaluation-nested",
            help="For the protocol paper: a nested report of the same preset, data, task, rule and seeds.",
        )
        setting_fields.device(machine[0], "evaluation-device")
        setting_fields.cores_used(
            machine[1],
            "Trainings at once",
            "evaluation-workers",
            f"Folds and seeds side by side. {setting_fields.ONE_LEFT}",
        )
        st.text_input(
            "Table of confirmed diagnoses (optional)",
            key="evaluation-diagnoses",
            placeholder="/data/diagnosis.csv",
            help="A csv, Excel or parquet file on this server, a row a patient: patient_id, and diagnosis "
            f"({', '.join(f'{code} {kind}' for code, kind in KINDS.items())}). The report then says how "
            "well model, readers and size rank these patients. For the protocols nested and frozen.",
        )
        setting_fields.start_row("evaluation", "evaluation", "evaluation", name, start)
    st.caption(
        "`nested` trains the VAE once a fold and seed: hours on two cores. It runs in the background, and "
        "can be stopped and resumed. From a terminal: `lungvae evaluate`."
    )


def open_jobs() -> list[Job]:
    """List evaluations that have not finished (waiting, running, stopped or failed), newest first."""
    return [job for job in Jobs().all() if job.kind == Evaluation.kind and job.status != DONE]


def watch() -> None:
    """Show unfinished evaluations; rerun the whole page when one starts or ends."""
    jobs = Jobs()
    unfinished = open_jobs()
    JOBS.rerun_when_changed(unfinished)
    for job in unfinished:
        with st.container(border=True):
            _show(jobs, job)


def _show(jobs: Jobs, job: Job) -> None:
    """Show one evaluation: its state, its progress, and Stop or Resume."""
    left, right = st.columns([4, 1], vertical_alignment="center")
    settings = job.request
    with left:
        JOBS.show_status(
            job,
            f"**{job.name}**, {settings['preset']}, {settings['protocol']}, {settings['task']}, "
            f"{settings['label_rule']}, {plural(settings['seeds'], 'seed')}{', quick' * settings['quick']}",
        )
    with right:
        JOBS.stop_or_resume(jobs, job)
    progress = read_progress(Path(job.folder) / REPORT)
    if progress is not None:
        step = f"{STEPS.get(progress.what, progress.what)}: {progress.done:.0f} of {progress.total:.0f}"
        if job.status == RUNNING and progress.seconds_left is not None:
            step += f", about {duration(progress.seconds_left)} left"
        st.progress(progress.fraction, text=step)
    if job.status == FAILED:
        JOBS.show_output(jobs, job)
