"""evaluation.json of older versions, which `lungvae classify` wrote in a format of its own, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lungvae_core.data.labels import RULES, TASKS
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.provenance import run_model
from lungvae_core.training.checkpoints import Run

OLDER_FORMAT = 0
_SAME = ("transductive", "seeds", "units", "nodule_rules", "views", "diagnosis", "classifier")
_SIZES = {
    "diameter": "the readers' diameter of the nodule alone",
    "area": "the root of the readers' outlined area in the slice alone, of a nodule in its largest slice",
}


def is_older(value: Any) -> bool:
    """Whether JSON is such an evaluation, even a damaged one."""
    return isinstance(value, dict) and "format" not in value and {"protocol", "units"} <= value.keys()


def upgraded(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """The evaluation in `path` in the format of reports, of OLDER_FORMAT; the values are not checked.

    Raises UserError if the folder of `path` is not a run, or the evaluation is not of the older format.
    """
    try:
        return _upgraded(value, Run.open(path.parent))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, UserError) as error:
        why = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(
            f"The evaluation {path} is damaged{why}. Make it again with `lungvae classify {path.parent}`."
        ) from error


def _upgraded(value: dict[str, Any], run: Run) -> dict[str, Any]:
    # Today `frozen` only names the protocol of `lungvae evaluate` that trains a VAE in each fold.
    renamed = value["protocol"] == "frozen"
    protocol = "transductive" if renamed else value["protocol"]
    description = PROTOCOLS[protocol]
    heldout, repeats = value.get("heldout"), value.get("repeats")
    data = run.info.data
    return {
        **{name: value[name] for name in _SAME if name in value},
        "format": OLDER_FORMAT,
        "protocol": protocol,
        "protocol_in_words": description.in_full if renamed else value["protocol_in_words"],
        "task": "mvb",
        "task_in_words": TASKS["mvb"],
        "label_rule": "median_high",
        "label_rule_in_words": RULES["median_high"],
        "leaks": list(dict.fromkeys([*description.leaks, *value.get("leaks", [])])),
        "data": {
            "name": data.name,
            "source": data.source,
            "attribution": data.attribution,
            "content_hash": data.content_hash,
            "slices": data.count,
            "counted": value.get("counted"),
        },
        "model": run_model(run),
        "folds": 0 if description.held_out_only else 5,
        "pixels_compared": value.get("pixels_compared"),
        "baselines": _baselines(value),
        "heldout": None if heldout is None else {**heldout, "baselines": _baselines(heldout)},
        "per_seed": None
        if repeats is None
        else [
            {"seed": seed, "slice": of_slice, "nodule": of_nodule}
            for seed, of_slice, of_nodule in zip(
                repeats["seeds"], repeats["slice"]["auc"], repeats["nodule"]["auc"], strict=True
            )
        ],
        "validation": value.get("reconstruction"),
    }


def _baselines(part: dict[str, Any]) -> dict[str, Any]:
    """The baselines with their descriptions, which the oldest lack; all of them are sizes."""
    return {
        name: {"words": _SIZES.get(name, name), "uses_readers": True, **both}
        for name, both in (part.get("baselines") or {}).items()
    }
