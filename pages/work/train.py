"""Train a model: start, watch, stop, resume; the work itself is a background job of the core."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.maps import TITLES
from lungvae_core.number_text import duration, plural
from lungvae_core.serving.jobs import form
from lungvae_core.serving.jobs.kinds import Evaluation, Map, Phantom, Preparation, Search, Training
from lungvae_core.serving.jobs.progress import TrainingState, read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.removal import delete_run
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job
from lungvae_core.training.validate import ACTIVE
from lungvae_core.vae.config import override
from lungvae_core.vae.config import preset as preset_named
from pages.shared import access, charts, common, url
from pages.shared.job_panel import STATUS
from pages.work.train_curves import curves, dimensions, held_out_words
from pages.work.train_form import JOBS, NEW, new_training

REFRESH_SECONDS = 2
HALVE = "on_nonfinite=halve"  # appears in the message of a training that it may help
KINDS = {
    Training.kind: "training",
    Search.kind: "search",
    Evaluation.kind: "evaluation",
    Preparation.kind: "data set from DICOM",
    Map.kind: "map",
    Phantom.kind: "generated data",
}
PHASES = {
    "trained": "Trained",
    "encoding": "Trained. Now encoding every slice",
    "classifying": "Trained and encoded. Now classifying and mapping",
    "finished": "Trained, encoded, classified and mapped",
}


def watch_jobs() -> None:
    """List all jobs, and show the current state of the picked one."""
    jobs = Jobs()
    try:
        by_number = {str(job.id): job for job in jobs.all()}
    except UserError as error:
        common.stop(str(error))
    JOBS.rerun_when_changed(by_number.values())
    JOBS.show_error()
    if not by_number:
        st.info(f"Nothing has been trained from here yet. Choose “{NEW}” to begin.")
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        titles = {number: f"{name_of(job)} (job {number})" for number, job in by_number.items()}
        job = by_number[JOBS.pick("Job", titles)]
    with right:
        buttons(jobs, job)
    if job.kind == Training.kind:
        training(job)
    else:
        JOBS.show_status(job, f"**{name_of(job)}**, {KINDS[job.kind]}")
    JOBS.show_output(jobs, job)
    with st.expander(f"All jobs ({len(by_number)})"):
        st.dataframe([table_row(job) for job in by_number.values()], hide_index=True)


def buttons(jobs: Jobs, job: Job) -> None:
    """Draw the buttons that apply: stop, resume, go to the map."""
    trained = job.kind == Training.kind and Path(job.folder).exists()
    with st.container(horizontal=True):
        if job.kind == Training.kind and HALVE in job.message and job.status in (STOPPED, FAILED):
            st.button(
                "Resume at half the learning rate",
                key=f"train-halve-{job.id}",
                icon=":material/trending_down:",
                type="primary",
                on_click=JOBS.act,
                args=(lambda: jobs.resume(job.id, on_nonfinite="halve"),),
                help="Continues from the last checkpoint. If the loss is not finite again, it returns to "
                "the checkpoint and continues at half the learning rate, at most 8 times.",
            )
        JOBS.stop_or_resume(jobs, job)
        if trained and job.status == DONE:
            st.page_link(
                "map/latent_map.py",
                label="Open in the map",
                icon=":material/scatter_plot:",
                query_params={"model": job.name},
            )
        if trained and not job.active:
            with st.popover("Delete", icon=":material/delete:"):
                st.markdown(
                    f"The run **{job.name}**: its weights, codes and maps, permanently and for everyone."
                )
                st.button(
                    "Delete it",
                    key=f"train-delete-{job.id}",
                    type="primary",
                    on_click=JOBS.attempt,
                    args=(access.DELETE, delete_run, jobs.settings, job.name),
                )


def training(job: Job) -> None:
    """Show a training's state, curves, dimensions and samples."""
    try:
        state = read_state(job.folder)
    except UserError as error:
        st.error(str(error))
        return
    say_status(job, state)
    if state is None:
        if job.status == DONE:
            st.caption("Its run has been deleted since.")
        return
    say_not_finite(job, state)
    st.progress(state.fraction, text=progress_words(job, state))
    st.caption(hardware_words(job, state))
    if state.leaks_from is not None:
        st.warning(form.LEAK, icon=":material/leak_add:")
    for sign in state.warnings:
        st.warning(sign, icon=":material/compress:")
    if not state.rows:
        st.caption("Curves and samples appear when the first epoch is done.")
        return
    st.markdown(figures_words(state))
    charts.show(curves(state), alt="Loss and held-out figures by epoch", key=f"train-curves-{job.id}")
    st.caption(curves_words(state))
    if state.units is not None:
        used = "How much each dimension is used"
        charts.show(dimensions(state.units), alt=used, key=f"train-dimensions-{job.id}")
        st.caption(dimensions_words(state))
    if state.samples:
        model = state.config.model
        whose = "held-out patients" if leak_epoch(state) is None else held_out_words(state)
        st.image(
            state.samples,
            width="stretch",
            caption=f"Top: slices of {whose}. Bottom: reconstructions, generated by the model. "
            f"HU {model.hu_low:g} to {model.hu_high:g} (W {model.hu_high - model.hu_low:g} / "
            f"L {(model.hu_high + model.hu_low) / 2:g}).",
        )


def say_not_finite(job: Job, state: TrainingState) -> None:
    """Say where the loss became non-finite, with the slices of that batch; nothing if it never did."""
    broken = state.not_finite
    if broken is None:
        return
    failed = job.status == FAILED and "finite" in job.message
    if not failed:
        times = "once" if state.halvings == 1 else f"{state.halvings} times"
        halved = f", its learning rate halved {times} by now" if state.halvings else ""
        st.warning(
            f"In epoch {broken.epoch}, batch {broken.batch}, the loss was not a finite number. The training "
            f"went back to its last checkpoint{halved}.",
            icon=":material/trending_down:",
        )
    title = f"The {len(broken.slices)} slices of epoch {broken.epoch}, batch {broken.batch}"
    with st.expander(title, expanded=failed):
        st.caption(
            "As patient/nodule/slice. One of them may be the cause, for instance a damaged image; more "
            "often the learning rate is too high."
        )
        st.code("\n".join(broken.slices), language=None, height=150)


def leak_epoch(state: TrainingState) -> int | None:
    """Return the first epoch whose held-out figures leak, once the training has finished one of them."""
    first = state.leaks_from
    return first if first is not None and len(state.rows) >= first else None


def figures_words(state: TrainingState) -> str:
    """Describe the last epoch's figures, and honestly say which slices they are from."""
    figures, training = state.rows[-1]["validation"], state.config.training
    if (leak := leak_epoch(state)) is None:
        share = f"about {training.validation_fraction:.0%}"
        whose = f"slices of **held-out patients** ({share}; never trained on)"
    else:
        whose = (
            f"slices of patients that were held out until epoch {leak - 1}; **about 70 % of them are "
            "trained on since, with their labels**"
        )
    alpha0 = "" if state.alpha0 is None else f"; α₀ **{state.alpha0:.1f}**"
    return (
        f"Epoch {len(state.rows)}, {whose}: SSIM **{figures['ssim']:.3f}** (0..1, 1 is perfect) and MSE "
        f"**{figures['mse']:.5f}**, both of images on 0..1 of the HU window; KL **{figures['kl']:.1f} "
        f"nats** a slice; **{figures['active_units']} of {state.config.model.dimensions}** dimensions "
        f"active (KL above {ACTIVE} nats){alpha0}."
    )


def hardware_words(job: Job, state: TrainingState) -> str:
    """Describe the training's hardware, and which settings were left to `auto`."""
    training = state.config.training
    as_set = override(preset_named(job.request["preset"]), job.request["changes"]).training

    def chosen(name: str) -> str:
        return ", chosen by auto" if getattr(as_set, name) == "auto" else ""

    device = {"cpu": "the CPU", "cuda": "a CUDA GPU", "mps": "the Apple GPU"}.get(state.device, state.device)
    threads = job.request.get("threads") or 0
    if state.device == "cpu" and threads:
        device += f" with {plural(threads, 'thread')}"
    if state.processes > 1:
        device += f", {state.processes} processes"
    compiled = "networks compiled" if training.compile == "on" else "networks not compiled"
    return f"On {device}; {training.precision}{chosen('precision')}; {compiled}{chosen('compile')}."


def curves_words(state: TrainingState) -> str:
    """Say which figures are held out, and what the curves do not show."""
    sentences = [
        f"Solid: {held_out_words(state)}. Dotted: the training slices, averaged over the epoch while the "
        "weights changed. Held-out slices are reconstructed from their codes, training slices from random "
        "samples."
    ]
    if state.history("validation", "loss")[0]:
        sentences.append(
            "The held-out loss counts the KL with the full β, the training loss with that of its epoch."
        )
    if state.config.joint.rounds:
        sentences.append(
            "In joint rounds the training loss includes the weighted label loss, for labels that the "
            "encoder trains on: its fall says nothing about other patients."
        )
    if state.history("train", "gradient_norm")[0]:
        limited = ", before its limit" if state.config.training.clip_norm else ""
        sentences.append(f"The gradient's norm is the epoch's mean{limited}.")
    return " ".join(sentences)


def dimensions_words(state: TrainingState) -> str:
    """Say what the bars of the dimensions show and do not mean."""
    text = (
        f"After epoch {len(state.rows)}. Above: how much information each dimension carries about a slice, "
        f"mean over {held_out_words(state)}; one below the line equals the prior. Below: how much the "
        "decoder uses it; a bar near 0 changes no image. A high KL says that a dimension is used, not "
        "that it means anything to a radiologist."
    )
    family = state.config.model.family
    if not family.independent:
        text += (
            f" A {family.label}'s dimensions are not independent: these KLs do not add up to that of a slice."
        )
    return text


def say_status(job: Job, state: TrainingState | None) -> None:
    """State the job's status in a sentence."""
    what = f"**{job.name}**" + ("" if state is None else f", {state.config.preset} on {state.data_name}")
    served = state is not None and state.phase == "finished"
    sentence = {
        FAILED: f"failed. {job.message}",
        QUEUED: f"waiting for its turn; another training has the device ({job.lane}). It starts by itself.",
        RUNNING: f"running{', getting ready' if state is None else ''}. You can close this tab; the job "
        "continues, and you find it here again.",
        STOPPING: "stopping after the current batch.",
        STOPPED: f"stopped. {'' if state is None else 'It can continue from its last checkpoint.'}",
        DONE: f"finished.{' The model is in the picker on the left.' if served else ''}",
    }[job.status]
    show = {FAILED: st.error, QUEUED: st.info}.get(job.status, st.markdown)
    show(f"{what}: {sentence}")


def progress_words(job: Job, state: TrainingState) -> str:
    if state.phase != "training":
        return PHASES[state.phase] if job.active or state.phase == "finished" else PHASES["trained"]
    if state.preparing is not None:
        return f"Before the first epoch: {state.preparing}, {state.prepared or 0:.0%}"
    text = f"Epoch {state.epoch} of {state.config.epochs}"
    if state.joint_round:
        text += f", joint round {state.joint_round} of {state.config.joint.rounds}"
    elif state.config.joint.rounds:
        text += f", before {plural(state.config.joint.rounds, 'joint round')}"
    if job.status == RUNNING and state.seconds_left is not None:
        text += f", about {duration(state.seconds_left)} of training left"
        if state.seconds_per_epoch is not None:
            text += f", {duration(state.seconds_per_epoch)} an epoch"
        text += f", {state.images_per_second:.0f} slices a second"
    if state.loss is not None:
        text += f", loss {state.loss:.1f} (the objective, a slice)"
    return text


def table_row(job: Job) -> dict[str, Any]:
    began = datetime.fromtimestamp(job.started or job.created)
    took = None if job.started is None or job.ended is None else duration(job.ended - job.started)
    return {
        "Job": job.id,
        "Name": name_of(job),
        "Kind": KINDS[job.kind],
        "State": STATUS[job.status],
        "Asked by": job.who,
        "Started": began.strftime("%Y-%m-%d %H:%M"),
        "Took": took or "",
        "Why": job.message,
    }


def name_of(job: Job) -> str:
    """Name what the job makes; a map's own name is only a key."""
    if job.kind != Map.kind:
        return job.name
    made = job.request
    return f"{TITLES[made['method']]} of {Path(made['run']).name}'s {made['unit']}s"


common.introduce("Train")
pace = REFRESH_SECONDS if any(job.active for job in common.jobs()) else None
if JOBS.form_picked(jobs_at_first=bool(pace or url.sent("job"))):
    JOBS.show_error()
    new_training()
    st.fragment(lambda: JOBS.rerun_when_changed(Jobs().all()), run_every=pace)()
else:
    st.fragment(watch_jobs, run_every=pace)()
