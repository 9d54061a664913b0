"""Train a model: start, watch, stop, resume; the work itself is a background job of the core."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from lungvae_core.errors import UserError
from lungvae_core.serving import form
from lungvae_core.serving.datasets import FoundData, find_data
from lungvae_core.serving.jobs import DONE, FAILED, PHANTOM, QUEUED, RUNNING, STOPPED, STOPPING, Job, Jobs
from lungvae_core.serving.progress import TrainingState, read_state
from lungvae_core.serving.settings import Settings
from lungvae_core.training.validate import ACTIVE
from lungvae_core.vae.config import PRESETS
from pages import common

NEW, WATCH = "New training", "Trainings"
PHANTOM_SLICES = 2000
REFRESH_SECONDS = 2
TRAINED, HELD_OUT = "#E69F00", "#56B4E9"  # Okabe-Ito
WORDS = {
    QUEUED: "waiting for its turn",
    RUNNING: "running",
    STOPPING: "stopping",
    DONE: "finished",
    FAILED: "failed",
    STOPPED: "stopped",
}
PHASES = {
    "encoding": "Trained. Now encoding every slice",
    "classifying": "Trained and encoded. Now classifying and mapping",
    "finished": "Trained, encoded, classified and mapped",
}


def act(what: Any, *arguments: Any) -> None:
    """Do something with a job; what goes wrong is shown on the next run of the page."""
    forget_error()
    try:
        job = what(*arguments)
    except UserError as error:
        st.session_state["train-error"] = str(error)
    else:
        st.session_state["train-view"] = WATCH
        st.query_params["job"] = str(job.id)


def forget_error() -> None:
    st.session_state.pop("train-error", None)


def show_error() -> None:
    """The sentence that the last action ended with, if it failed; it stays until the next one."""
    if message := st.session_state.get("train-error"):
        st.error(message)


def start(preset: str, name_key: str) -> None:
    """Start what the form holds; only settings that differ from the preset's are passed on."""
    state = st.session_state
    changes = {
        setting.name: state[key]
        for setting in form.settings_of(PRESETS[preset])
        if (key := f"train-{preset}-{setting.name}") in state and state[key] != setting.default
    }
    act(
        lambda: Jobs().start_training(
            state["train-data"].folder,
            preset,
            changes,
            state[name_key].strip(),
            device=state["train-device"],
            threads=state["train-threads"],
        )
    )


def field(setting: form.Setting, key: str) -> None:
    """The widget of one setting."""
    if setting.kind == "choice":
        st.selectbox(
            setting.label,
            setting.choices,
            setting.choices.index(setting.default),
            key=key,
            help=setting.help,
        )
    elif setting.kind == "switch":
        st.toggle(setting.label, setting.default, key=key, help=setting.help)
    elif setting.kind == "whole":
        st.number_input(
            setting.label,
            None if setting.minimum is None else int(setting.minimum),
            None if setting.maximum is None else int(setting.maximum),
            setting.default,
            step=1,
            key=key,
            help=setting.help,
        )
    else:
        st.number_input(
            setting.label,
            None if setting.minimum is None else float(setting.minimum),
            None if setting.maximum is None else float(setting.maximum),
            float(setting.default),
            step=10.0 ** (math.floor(math.log10(abs(setting.default))) - 1) if setting.default else 0.1,
            format="%g",
            key=key,
            help=setting.help,
        )


def new_training() -> None:
    """The form that starts a training, or how to get data for one."""
    settings = Settings()
    found, broken = find_data(settings)
    for name, reason in broken.items():
        st.warning(f"The data set {name} was left out. {reason}")
    if not found:
        no_data(settings)
        return
    left, right = st.columns(2)
    left.selectbox("Data", found, format_func=describe_data, key="train-data")
    preset = right.selectbox("Preset", list(PRESETS), index=list(PRESETS).index("dirvae"), key="train-preset")
    right.caption(form.describe_preset(preset))
    left.caption("Patients, not slices, are held out: no patient is on both sides.")

    fields = form.settings_of(PRESETS[preset])
    name = Jobs().suggest(preset)
    with st.form("train-form", enter_to_submit=False):
        columns = st.columns(4)
        main = [setting for setting in fields if setting.main]
        for index, setting in enumerate(main):
            with columns[index % 4]:
                field(setting, f"train-{preset}-{setting.name}")
        with st.expander("More settings"):
            columns = st.columns(4)
            for index, setting in enumerate(setting for setting in fields if not setting.main):
                with columns[index % 4]:
                    field(setting, f"train-{preset}-{setting.name}")
            columns = st.columns(4)
            with columns[0]:
                st.selectbox("Device", form.devices(), key="train-device")
            with columns[1]:
                st.number_input(
                    "CPU threads",
                    1,
                    form.cores(),
                    max(1, form.cores() - 1),
                    key="train-threads",
                    help="One core is left to this app unless you say otherwise.",
                )
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        # A new suggestion is a new field: after a start the next name stands in it.
        left.text_input(
            "Name of the run", name, key=f"train-name-{name}", help="Letters, digits, '-' and '_'."
        )
        right.form_submit_button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            on_click=start,
            args=(preset, f"train-name-{name}"),
            key="train-start",
        )


def describe_data(data: FoundData) -> str:
    kind = ", generated" if data.generated else ""
    return f"{data.name} ({data.folder.name}): {data.slices:,} slices, {data.patients:,} patients{kind}"


def no_data(settings: Settings) -> None:
    """What to do when there is nothing to train on."""
    st.info(
        f"There is no data set in {settings.data} yet. Make one of LIDC-IDRI's scans, of your own arrays, or "
        "of generated nodules:"
    )
    st.code(
        f"lungvae prepare --help\nlungvae import --help\nlungvae phantom --out {settings.data / 'phantom'}",
        language="bash",
    )
    st.button(
        f"Make a phantom data set ({PHANTOM_SLICES:,} generated slices)",
        key="train-phantom",
        icon=":material/add:",
        on_click=act,
        args=(
            lambda: Jobs(settings).start_phantom("phantom", PHANTOM_SLICES, workers=max(1, form.cores() - 1)),
        ),
        help="Nodules that no patient has, with factors drawn independently; they have no malignancy.",
    )


def rerun_when_changed(known: list[Job]) -> None:
    """Run the whole page when a job has begun or ended: the picker and the pace depend on it."""
    active = {job.id for job in known if job.active}
    before = st.session_state.get("train-active", active)
    st.session_state["train-active"] = active
    if before != active:
        st.rerun()


def watch_jobs() -> None:
    """All jobs, and the one that was picked, as it is now."""
    jobs = Jobs()
    try:
        known = jobs.all()
    except UserError as error:
        common.stop(str(error))
    rerun_when_changed(known)
    show_error()
    if not known:
        st.info(f"Nothing has been trained from here yet. Choose “{NEW}” to begin.")
        return
    numbers = [job.id for job in known]
    asked = st.query_params.get("job", "")
    index = numbers.index(int(asked)) if asked.isdecimal() and int(asked) in numbers else 0
    names = {job.id: f"{job.name} (job {job.id})" for job in known}
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox("Job", numbers, index, format_func=names.__getitem__)
    st.query_params["job"] = str(chosen)
    job = known[numbers.index(chosen)]
    with right:
        buttons(jobs, job)
    if job.kind == PHANTOM:
        st.markdown(f"**{job.name}**, generated data: {WORDS[job.status]}. {job.message}")
    else:
        training(job)
    with st.expander("Output", expanded=job.status == FAILED):
        st.code(jobs.output(job, 15) or "Nothing yet.", language=None)
        st.caption(f"The whole of it: {job.log}")
    with st.expander(f"All jobs ({len(known)})"):
        st.dataframe([table_row(job) for job in known], hide_index=True)


def buttons(jobs: Jobs, job: Job) -> None:
    """Stop, resume, and on to the map: whichever applies."""
    with st.container(horizontal=True):
        if job.active:
            st.button(
                "Stop",
                key=f"train-stop-{job.id}",
                icon=":material/stop:",
                disabled=job.status == STOPPING,
                on_click=act,
                args=(jobs.stop, job.id),
                help="Ends after the batch in hand, with a checkpoint to go on from.",
            )
        elif job.kind != PHANTOM and job.status in (STOPPED, FAILED):
            st.button(
                "Resume",
                key=f"train-resume-{job.id}",
                icon=":material/play_arrow:",
                on_click=act,
                args=(jobs.resume, job.id),
                help="Goes on from the last checkpoint with the settings that it began with.",
            )
        elif job.kind != PHANTOM and job.status == DONE:
            st.page_link(
                "latent_map.py",
                label="Open in the map",
                icon=":material/scatter_plot:",
                query_params={"model": job.name},
            )


def training(job: Job) -> None:
    """A training's state, curves and samples."""
    try:
        state = read_state(job.folder)
    except UserError as error:
        st.error(str(error))
        return
    say_status(job, state)
    if state is None:
        return
    st.progress(state.fraction, text=progress_words(job, state))
    for sign in state.warnings:
        st.warning(sign, icon=":material/compress:")
    if not state.rows:
        st.caption("Curves and samples appear when the first epoch is done.")
        return
    held_out = state.rows[-1]["validation"]
    share = state.config.training.validation_fraction
    st.markdown(
        f"Epoch {len(state.rows)}, slices of **held-out patients** (about {share:.0%}; never trained on): "
        f"SSIM **{held_out['ssim']:.3f}** (0..1, 1 is perfect) and MSE **{held_out['mse']:.5f}**, both of "
        "pictures on 0..1 of the HU window; "
        f"KL **{held_out['kl']:.1f} nats** a slice; **{held_out['active_units']} of "
        f"{state.config.model.dimensions}** dimensions active (KL above {ACTIVE} nats)."
    )
    st.plotly_chart(
        curves(state), key=f"train-curves-{job.id}", config={"displayModeBar": False}, theme="streamlit"
    )
    if state.samples:
        model = state.config.model
        st.image(
            state.samples,
            width="stretch",
            caption="Top: slices of held-out patients. Bottom: reconstructions, generated by the model. "
            f"HU {model.hu_low:g} to {model.hu_high:g} (W {model.hu_high - model.hu_low:g} / "
            f"L {(model.hu_high + model.hu_low) / 2:g}).",
        )


def say_status(job: Job, state: TrainingState | None) -> None:
    """The job's status in a sentence."""
    what = f"**{job.name}**" + ("" if state is None else f", {state.config.preset} on {state.data_name}")
    if job.status == FAILED:
        st.error(f"{what}: failed. {job.message}")
    elif job.status == QUEUED:
        st.info(
            f"{what}: waiting for its turn; another training has the device ({job.lane}). "
            "It starts by itself."
        )
    elif job.status == RUNNING:
        st.markdown(
            f"{what}: running{', getting ready' if state is None else ''}. You may close this tab; the work "
            "goes on and is found here again."
        )
    elif job.status == STOPPING:
        st.markdown(f"{what}: stopping after the batch in hand.")
    elif job.status == STOPPED:
        st.markdown(f"{what}: stopped. {'' if state is None else 'It can go on from its last checkpoint.'}")
    else:
        st.markdown(f"{what}: finished. The model is in the picker on the left.")


def progress_words(job: Job, state: TrainingState) -> str:
    if state.phase != "training":
        return PHASES[state.phase]
    words = f"Epoch {state.epoch} of {state.config.epochs}"
    if job.status == RUNNING and state.seconds_left is not None:
        words += f", about {duration(state.seconds_left)} of training left"
        words += f", {state.images_per_second:.0f} slices a second"
    if state.loss is not None:
        words += f", loss {state.loss:.1f} (the objective, a slice)"
    return words


def curves(state: TrainingState) -> go.Figure:
    """Loss, SSIM, MSE, KL, active dimensions and beta over the epochs."""
    rows, epochs = state.rows, [row["epoch"] for row in state.rows]
    titles = (
        "Loss, training (objective a slice)",
        "SSIM, held out (0..1)",
        "MSE, held out (0..1 scale)",
        "KL (nats a slice)",
        f"Active dimensions, held out (of {state.config.model.dimensions})",
        "β, weight of the KL",
    )
    figure = make_subplots(2, 3, subplot_titles=titles, vertical_spacing=0.2, horizontal_spacing=0.07)

    def line(row: int, column: int, values: list[float], name: str, colour: str) -> None:
        figure.add_scatter(
            x=epochs,
            y=values,
            name=name,
            mode="lines+markers" if len(rows) < 30 else "lines",
            line={"color": colour, "width": 2, "dash": "solid" if colour == HELD_OUT else "dot"},
            marker={"size": 5},
            row=row,
            col=column,
            legendgroup=name,
            showlegend=(row, column) == (2, 1),
        )

    line(1, 1, [row["train"]["loss"] for row in rows], "training slices", TRAINED)
    line(1, 2, [row["validation"]["ssim"] for row in rows], "held-out patients", HELD_OUT)
    line(1, 3, [row["validation"]["mse"] for row in rows], "held-out patients", HELD_OUT)
    line(2, 1, [row["train"]["kl"] for row in rows], "training slices", TRAINED)
    line(2, 1, [row["validation"]["kl"] for row in rows], "held-out patients", HELD_OUT)
    line(2, 2, [row["validation"]["active_units"] for row in rows], "held-out patients", HELD_OUT)
    line(2, 3, [row["beta"] for row in rows], "training slices", TRAINED)
    figure.update_xaxes(title_text="epoch", row=2)
    # All epochs to come, unless that would squeeze the curves into a corner.
    last = max(2, min(state.config.epochs, max(10, 2 * len(rows))))
    figure.update_xaxes(range=[0.5, last + 0.5], tickformat="d")
    figure.update_yaxes(rangemode="nonnegative", row=1)
    figure.update_yaxes(rangemode="tozero", row=2)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        height=430,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "y": -0.15},
    )
    return figure


def table_row(job: Job) -> dict[str, Any]:
    began = datetime.fromtimestamp(job.started or job.created)
    took = None if job.started is None or job.ended is None else duration(job.ended - job.started)
    return {
        "Job": job.id,
        "Name": job.name,
        "Kind": "generated data" if job.kind == PHANTOM else job.kind,
        "State": WORDS[job.status],
        "Started": began.strftime("%Y-%m-%d %H:%M"),
        "Took": took or "",
        "Why": job.message,
    }


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


common.introduce(
    "Train",
    shows="Start a training, watch it learn, stop it and go on later. It runs in the background: it does not "
    "need this tab, and its finished model appears in the picker.",
    does_not_mean=(
        "- A good SSIM says that slices are redrawn well, not that a model knows what is malignant. Labels "
        "play no part in this training.\n"
        "- Losses are weighted by the settings: compare them within one run only. SSIM and MSE depend on the "
        "HU window: compare them between runs of the same window only.\n"
        "- One seed is one draw. Which of two models is better takes several seeds.\n"
        "- Held-out figures come from patients of the same archive, not from another hospital."
    ),
)
try:
    known_jobs = Jobs().all()
except UserError as error:
    common.stop(str(error))
pace = REFRESH_SECONDS if any(job.active for job in known_jobs) else None
if "train-view" not in st.session_state:
    st.session_state["train-view"] = WATCH if pace or "job" in st.query_params else NEW
view = st.segmented_control(
    "View",
    [NEW, WATCH],
    key="train-view",
    required=True,
    label_visibility="collapsed",
    on_change=forget_error,
)
if view == NEW:
    show_error()
    new_training()
    st.fragment(lambda: rerun_when_changed(Jobs().all()), run_every=pace)()
else:
    st.fragment(watch_jobs, run_every=pace)()
