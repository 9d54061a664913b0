"""Every protocol by name: a description in words and the settings it fixes. Light to import, for help texts.

`lungvae evaluate` has nested, frozen and paper; `lungvae validate` has external. `lungvae classify` has
transductive, joint and released, and uses the one that the labels behind the run's codes allow. The final
report of a search is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

_ASIDE = "Calibration and threshold come from patients who neither fitted the classifier nor are tested."


@dataclass(frozen=True)
class Description:
    """A protocol in words; the settings it fixes have the names of `lungvae_core.vae.config`."""

    title: str
    in_full: str  # in reports
    in_short: str = ""  # in lists to choose from
    threshold: str = _ASIDE  # a sentence on which patients settled calibration and threshold
    leaks: tuple[str, ...] = ()  # how every report of it leaks
    why_leak: str = "What it is tested on was known to the model."  # why a report that leaks is shown
    held_out_only: bool = False  # whether only patients that the VAE never saw are tested
    trains: bool = True  # whether models are trained in folds; otherwise it tests a trained model
    of_run: bool = False  # whether it is one of `lungvae classify`, for a run's own classifier
    labels_of: str | None = None  # whose labels the joint phase takes; None without a joint phase
    labels_rule: str = ""  # the sentence that refuses labels of others
    starts_with: Mapping[str, object] = field(default_factory=dict)  # settings that may be changed
    fixes: Mapping[str, object] = field(default_factory=dict)  # settings that may not


_of_run = partial(Description, trains=False, of_run=True, threshold="No threshold is set.")
PROTOCOLS: dict[str, Description] = {
    "nested": Description(
        title="nested cross-validation",
        in_short="everything is fitted inside the folds; the one to quote",
        in_full="in each outer fold everything is fitted on its training patients alone: VAE, joint phase, "
        "classifier; threshold, calibration and nodule rule on training patients kept aside from that",
        labels_of="training",
        labels_rule="The protocol nested takes labels of training patients alone; leave out labels_of.",
    ),
    "frozen": Description(
        title="a VAE without labels in each fold",
        in_short="a VAE without labels in each fold, and a classifier on its codes",
        in_full="in each outer fold a VAE without labels is trained on the pixels of its training patients "
        "alone, and a classifier on its codes; threshold, calibration and nodule rule on training patients "
        "kept aside from that",
        fixes={"rounds": 0, "guided": (), "lesion_layer": False},
    ),
    "paper": Description(
        title="the paper's released protocol",
        in_short="as released, which leaks and shows by how much",
        in_full="LEAKS, as in the released code of arXiv 2311.15719: one VAE, whose joint phase sees the "
        "labels of a random 70 % of all patients; the classifier is then cross-validated over all patients, "
        "the threshold is the best on each test fold, and slices are counted as cases",
        threshold="This protocol chooses the threshold on the folds that it is tested on.",
        leaks=(
            "Labels of 70 % of all patients shaped the codes on which the classifier is cross-validated over "
            "all patients: most test patients' labels were seen.",
            "The threshold is the one that gives the best accuracy on the test fold itself.",
            "Slices are counted as cases, though those of one nodule are alike.",
            "The VAE was trained on the pixels of the test patients.",
        ),
        why_leak="It is here to show where such figures come from.",
        labels_of="released",
        labels_rule="The protocol paper is the one with labels of 70 % of all patients; leave out labels_of.",
        # What the released code does in its joint phase: classes as labels and no augmentation. This way the
        # encoder memorises its patients, and the leak shows; strong augmentation would almost hide it.
        starts_with={
            "labels_of": "released",
            "soft_labels": False,
            "ratings_weight": 0.0,
            "flips": False,
            "quarter_turns": False,
            "rotate_degrees": 0.0,
            "shift_px": 0.0,
        },
    ),
    "external": Description(
        title="a trained model on other data",
        in_full="a trained model as it is, on other data: its own classifier, and threshold and calibration "
        "that its own cross-validated scores settle; nothing is fitted to the new data",
        threshold="Calibration and threshold are the model's own, settled before it saw these data.",
        why_leak="Patients that the model has learned from are tested.",
        trains=False,
    ),
    "transductive": _of_run(
        title="one VAE without labels for all folds",
        in_full="one VAE without labels for all folds, MLP on its codes, 5 patient-grouped stratified folds",
    ),
    "joint": _of_run(
        title="held-out patients of a VAE with labels",
        in_full="VAE and MLP trained with labels of the training patients, tested on held-out patients only",
        held_out_only=True,
    ),
    "released": _of_run(
        title="the released choice of labels",
        in_full="LEAKS: labels of 70 % of all patients shaped the codes on which the MLP is cross-validated",
        leaks=(
            "Labels of 70 % of all patients shaped the codes on which the classifier is cross-validated.",
        ),
    ),
    "searched": Description(
        title="the best trial of a search",
        in_full="best of {trials} trials on {folds} validation split(s), trained again without the patients "
        "set aside, judged once on them",
        held_out_only=True,
    ),
}
