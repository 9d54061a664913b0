"""Where a score comes from: which classifier made it, and whether encoder and classifier saw the label.

Only `LoadedModel.classifier_of` decides which classifier is used. An encoder that learned from a patient's
label cannot be replaced, so this is stated.
"""

from __future__ import annotations

from lungvae_core.evaluation.classify import CROSS_VALIDATED, FITTED, SHAPED, TESTED
from lungvae_core.serving.models.registry import LoadedModel

_KINDS = {
    CROSS_VALIDATED: "Cross-validated: the classifier had not seen this patient's labels.",
    FITTED: "This patient has neither a malignant nor a benign label: the classifier had none to see.",
    TESTED: "Held out: neither the encoder nor the classifier had seen this patient's label.",
    SHAPED: "Not a test: the encoder learned from this patient's label. The classifier had not seen it.",
}
# For runs that keep no classifier per fold, and for patients in no fold.
_WITHOUT_FOLDS = {
    **_KINDS,
    FITTED: "Not labelled: scored by the classifier that was fitted on all labelled slices; other nodules of "
    "this patient may be among them.",
    SHAPED: "Not a test: the encoder and the classifier learned from this patient's label.",
}
_LEAKS = " The encoder may have seen it all the same: its joint phase used labels of 70 % of all patients."
_NO_LABELS = " The encoder learned without labels."
_GUIDED = " It depends on the guided dimensions only."
_DRAWN = " It depends on what the code draws about the middle of the slice."
NOBODY = "Scored by the classifier that was fitted on all labelled slices: this is no lesion of the set."


def of_row(model: LoadedModel, row: int) -> str:
    """Where the score of a lesion of the data set comes from, in tables, maps and cards."""
    entry = model.lesion(row)
    kinds = _KINDS if _has_own(model, str(entry["patient_id"])) else _WITHOUT_FOLDS
    kind = str(entry.get("score_kind", ""))
    return kinds[kind] + _encoder(model, kind) if kind in kinds else ""


def of_walk(model: LoadedModel, patient: str | None) -> str:
    """Where the scores of codes related to a patient of the data set, or to none, come from."""
    if model.classifier is None:
        return ""
    if patient is None:
        return NOBODY + _reads(model)
    table = model.table
    row = int((table["patient_id"].astype(str) == patient).to_numpy().argmax())
    kind = str(table["score_kind"].iloc[row]) if "score_kind" in table else ""
    if kind in (TESTED, SHAPED) or (kind == FITTED and model.folds is not None) or _has_own(model, patient):
        return of_row(model, row)
    return (
        "The classifier behind this score was fitted on all labelled slices, this patient's among them, so "
        "it differs from the cross-validated score in tables and on the map. This run keeps no other; make "
        f"them with `lungvae classify {model.entry.folder}`."
    )


def of_set(model: LoadedModel) -> str:
    """Where the scores of many lesions together come from; empty for a model without scores."""
    table = model.table
    if "score_kind" not in table:
        return ""
    counts = table["score_kind"].astype(str).value_counts()
    sentences = [
        f"{counts[kind]:,} slices: {text[0].lower()}{text[1:]}"
        for kind, text in (_KINDS if model.folds is not None else _WITHOUT_FOLDS).items()
        if kind in counts
    ]
    return " ".join(sentences) + _encoder(model, str(counts.index[0]))


def _has_own(model: LoadedModel, patient: str) -> bool:
    return model.folds is not None and model.folds.stranger_to(patient) is not None


def _encoder(model: LoadedModel, kind: str) -> str:
    if model.run.config.labels_leak:
        return _LEAKS + _reads(model)
    return ("" if kind in (TESTED, SHAPED) else _NO_LABELS) + _reads(model)


def _reads(model: LoadedModel) -> str:
    if model.classifier is None:
        return ""
    inputs = model.classifier.inputs
    return _GUIDED if inputs.guided else _DRAWN if inputs.axes is not None else ""
