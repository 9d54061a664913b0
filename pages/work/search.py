"""Search hyperparameters: start a search, watch it, and see the results of its trials."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lungvae_core.errors import UserError
from lungvae_core.number_text import duration, interval
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.jobs import form
from lungvae_core.serving.jobs.kinds import Search
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.searches import SearchState, find_searches, read_search
from lungvae_core.serving.jobs.table import DONE, FAILED, RUNNING, Job
from lungvae_core.serving.models.registry import ModelEntry
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.search.setup import OBJECTIVES, SearchConfig, make
from lungvae_core.training.search.spaces import SPACES
from lungvae_core.vae.config import TrainingConfig
from pages.shared import charts, common, setting_fields, url
from pages.shared.job_panel import JobPanel
from pages.work.search_figures import best_so_far, in_boxes, parallel, scatters

NEW, RESULTS = "New search", "Searches"
REFRESH_SECONDS = 3
SPACE_WORDS = {
    "gvae": "around our Gaussian preset",
    "dirvae": "around our Dirichlet preset",
    "paper-gvae": "the paper's published ranges, Gaussian; needs a GPU",
    "paper-dirvae": "the paper's published ranges, Dirichlet; needs a GPU",
    "mlp": "the classifier on a model's codes",
    "paper-mlp": "the paper's published ranges of the classifier",
}
JOBS = JobPanel(
    "search",
    NEW,
    RESULTS,
    address="search",
    value=lambda job: Path(job.folder).name,
    stop_help="Stops after the current batches, with checkpoints to continue from.",
    resume_help="Finished trials count; the others continue from their checkpoints.",
)


def start(space: str, name_key: str) -> None:
    """Start the search that the form describes."""
    state = st.session_state
    as_set = ("method", "trials", "objective", "folds", "seed", "device", "workers")
    options = {name: state[f"search-{name}"] for name in as_set}
    JOBS.act(
        lambda: Jobs().start(
            Search.of,
            state[name_key].strip(),
            state["search-source"].folder,
            space,
            fixed={} if SPACES[space].of_codes else {"epochs": state["search-epochs"]},
            test_fraction=state["search-test"],
            halving=bool(state.get("search-halving", False)),
            **options,
        )
    )


def new_search() -> None:
    """Draw the form that starts a search."""
    left, right = st.columns(2)
    descriptions = {name: SPACE_WORDS[name] for name in SPACES}
    at_first = list(SPACES).index("dirvae")
    space = setting_fields.described(left, "What to search", descriptions, "search-space", index=at_first)
    of_codes = SPACES[space].of_codes
    sources, none = sources_of(of_codes)
    if not sources:
        st.info(none)
        return
    right.selectbox("Model" if of_codes else "Data", sources, format_func=describe, key="search-source")
    start_from, parameters = make(SPACES[space], sources[0].folder), SPACES[space].parameters
    with st.expander(f"What may change ({len(parameters)} settings)"):
        rows = [{"Setting": name, "Values": str(parameter)} for name, parameter in parameters.items()]
        st.dataframe(rows, hide_index=True)
        st.caption("Other bounds: `lungvae search --range`, `--choices` and `--set`.")
    name = Jobs().suggest(f"search-{space}")
    objectives = ["auc", "balanced_accuracy"] if of_codes else ["auc", "ssim", "mse", "elbo"]
    with st.form("search-form", enter_to_submit=False):
        columns = st.columns(4)
        option(columns[0], "method")
        option(columns[1], "trials")
        columns[2].selectbox(
            SearchConfig.model_fields["objective"].title or "",
            objectives,
            objectives.index(start_from.objective),
            key="search-objective",
            help="\n\n".join(f"{key}: {OBJECTIVES[key][1]}." for key in objectives),
        )
        option(columns[3], "folds", start_from.folds)
        columns = st.columns(4)
        option(columns[0], "test_fraction", start_from.test_fraction, key="search-test")
        option(columns[1], "seed")
        if not of_codes:
            epochs = form.setting_of(TrainingConfig, "epochs", start_from.epochs)
            of_trial = replace(epochs, help=f"Of a trial. {epochs.help}")
            setting_fields.show(columns[2], of_trial, "search-epochs")
            option(columns[3], "halving")
        columns = st.columns(4)
        setting_fields.device(columns[0], "search-device")
        help = "Each has one CPU thread; one core is left to this app unless you say otherwise."
        setting_fields.cores_used(columns[1], "Trainings at once", "search-workers", help)
        setting_fields.start_row("search", "search", "search", name, start, space)


def option(column: DeltaGenerator, name: str, default: float | None = None, *, key: str = "") -> None:
    """Draw the widget of one of the search's own settings."""
    setting_fields.show(column, form.setting_of(SearchConfig, name, default), key or f"search-{name}")


def sources_of(of_codes: bool) -> tuple[list[Any], str]:
    """Return (what can be searched on, what to do if there is nothing)."""
    if of_codes:
        return registry().entries(), "There is no model yet. Train one on the Train page."
    nothing = f"There is no data set in {Settings().data} yet. The Train page tells how to make one."
    return setting_fields.data_sets(), nothing


def describe(source: Any) -> str:
    if isinstance(source, ModelEntry):
        return f"{source.title}: {source.dimensions} dimensions"
    return source.in_words()


def show_searches() -> None:
    """List all searches, and show the current state of the picked one."""
    jobs = Jobs()
    own = {Path(job.folder): job for job in reversed(jobs.all()) if job.kind == Search.kind}
    folders = find_searches()
    folders = [folder for folder in own if folder not in folders and own[folder].active] + folders
    folders += [folder for folder in own if folder not in folders]
    if not folders:
        st.info(f"There is no search yet. Choose “{NEW}” to begin, or run `lungvae search`.")
        return
    by_name = {folder.name: folder for folder in folders}
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        folder = by_name[JOBS.pick("Search", list(by_name))]
    job = own.get(folder)
    if job is not None:
        with right:
            JOBS.stop_or_resume(jobs, job)
        if job.status != DONE:
            JOBS.show_status(job, f"**{job.name}**")
        if job.status == FAILED:
            JOBS.show_output(jobs, job)
    try:
        state = read_search(folder)
    except UserError as error:
        st.error(str(error))
        return
    if state is not None:
        show_state(state, job)


def show_state(state: SearchState, job: Job | None) -> None:
    """Show a search's progress, best trials, figures and table."""
    config, progress = state.config, state.progress
    st.markdown(
        f"Space **{config.space}** on {config.data_name}, {config.method}"
        f"{' with successive halving' if config.halving else ''}, {config.folds} validation fold(s) by "
        f"patient, {config.test_fraction:.0%} of the patients set aside. Chosen by **{config.objective}**: "
        f"{state.objective}."
    )
    for notice in config.notices():
        st.warning(notice)
    if progress:
        share = progress["epochs_done"] / max(1, progress["epochs_expected"])
        text = f"{progress['done']} of {progress['trials']} trials have ended"
        if job is not None and job.status == RUNNING and progress["seconds_left"] is not None:
            text += f", {progress['running']} run, about {duration(progress['seconds_left'])} left"
        st.progress(min(1.0, share), text=text)
    if not len(state.table):
        st.caption("Results appear after the first trial.")
        return
    counts = state.table["state"].value_counts()
    st.markdown("Trials: " + ", ".join(f"**{count}** {name}" for name, count in counts.items()) + ".")
    show_best(state)
    with_value = state.table["value"].notna()
    if with_value.sum() >= 2:
        st.subheader("Every trial")
        drawn = charts.show(
            parallel(state),
            alt="All trials as lines, from settings to value",
            key="search-parallel",
            on_select="rerun",
            selection_mode="box",
        )
        st.caption(
            "One line per trial, from its settings to its value on validation patients; brighter is "
            "better. Point at one to read it; draw a box around points of an axis to list those trials, "
            "with Shift one on another axis for those in both; double-click to clear. The axes nearest to "
            "the value correlate with it most."
        )
        boxed = in_boxes(list(drawn["selection"]["points"]))
        if boxed:
            st.dataframe(state.table[state.table["number"].isin(boxed)], hide_index=True)
    if len(state.complete) >= 2:
        charts.show(best_so_far(state), alt="The best value so far, trial by trial", key="search-best")
        st.subheader("Value against settings")
        charts.show(scatters(state), alt="Value against each setting", key="search-scatters")
        st.caption(
            "In brackets, how strongly the value depends on the setting over the complete trials, 0 to 1 "
            "(rank correlation, or correlation ratio for words). Settings vary at random together: with "
            "few trials most of it is chance."
        )
    shown = state.table.sort_values("value", ascending=not config.maximise, na_position="last")
    st.dataframe(shown, hide_index=True)
    st.caption(f"The table: {state.folder / 'trials.csv'}")


def show_best(state: SearchState) -> None:
    """Show the winner, the command that trains it, and its single evaluation on the patients set aside."""
    if not len(state.complete):
        return
    row = state.complete.iloc[0]
    st.markdown(
        f"Best on validation patients: trial **{row['number']}**, {state.config.objective} "
        f"**{row['value']:.4f}** (the best of {len(state.complete)}; optimistic)."
    )
    st.code(shlex.join(state.command()), language="bash", wrap_lines=True)
    if state.final is None:
        return
    sentence = f"On the **{state.final['patients']} patients set aside**, once: "
    if figures := state.final.get("reconstruction"):
        sentence += f"SSIM {figures['ssim']:.3f}, MSE {figures['mse']:.5f} (0..1 of the HU window). "
    if classified := state.final.get("classifier"):
        alone = {f"{name} alone": units for name, units in classified["baselines"].items()}
        areas = "; ".join(
            f"{name} {interval(units['nodule']['auc'])}"
            for name, units in ({"codes": classified["units"]} | alone).items()
        )
        sentence += f"AUC per nodule, malignant against benign, 95 % interval: {areas}"
    st.markdown(sentence)


def watch() -> None:
    """Show the searches; rerun the page when one starts or ends, because its refresh rate depends on it."""
    JOBS.rerun_when_changed(Jobs().all())
    show_searches()


common.introduce("Search")
all_jobs = common.jobs()
form_picked = JOBS.form_picked(jobs_at_first=bool(find_searches() or url.sent("search")))
JOBS.show_error()
if form_picked:
    new_search()
else:
    running = any(job.active and job.kind == Search.kind for job in all_jobs)
    st.fragment(watch, run_every=REFRESH_SECONDS if running else None)()
