"""`lungvae validate`: a trained model on other data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import Diagnoses, Model, open_set, option, seen_choice
from lungvae_core.cli.progress import progress_bar
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.config import EvaluationConfig
from lungvae_core.number_text import interval, number, with_interval


@app.command()
def validate(
    model: Model,
    data: Annotated[Path, typer.Option(help="Folder of a data set that is new to the model.")],
    out: Annotated[Path, typer.Option(help="The report, a json file.")],
    task: Annotated[str, option(EvaluationConfig, "task")] = "mvb",
    label_rule: Annotated[str, option(EvaluationConfig, "label_rule")] = "median_high",
    leave_out_seen: Annotated[
        bool, typer.Option("--leave-out-seen", help="Leave out patients that the model was trained on.")
    ] = False,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Test on them, too; the report says that it leaks.")
    ] = False,
    diagnoses: Diagnoses = None,
    nodule_rule: Annotated[
        str,
        typer.Option(help="From slices to a nodule: mean, max, top3, largest, attention; own: the model's."),
    ] = "own",
    views: Annotated[int, typer.Option(help="Average mirrored and turned views: 1, 4 or 8.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer resamples, no reconstruction; not to be quoted.")
    ] = False,
) -> None:
    """Evaluate a trained model, with its own classifier, calibration and threshold, on other data."""
    from lungvae_core.cli.evaluate import print_diagnosis
    from lungvae_core.data.diagnoses import read_diagnoses
    from lungvae_core.evaluation.external import validate as judge
    from lungvae_core.evaluation.report import save_report
    from lungvae_core.files import check_replaceable
    from lungvae_core.serving.models.registry import Registry

    seen = seen_choice(leave_out_seen, include_seen)
    if out.suffix != ".json" or out.is_dir():
        raise UserError(f"The report is a json file; {out} is not named like one.")
    check_replaceable(out)
    confirmed = None if diagnoses is None else read_diagnoses(diagnoses)
    loaded = Registry().load_from(model)
    opened = open_set(data)
    with progress_bar("encoding", len(opened)) as advance:
        report = judge(
            loaded.run,
            opened,
            task=task,
            label_rule=label_rule,
            seen=seen,
            diagnoses=confirmed,
            nodule_rule=nodule_rule,
            views=views,
            name=loaded.entry.name,
            seed=seed,
            quick=quick,
            on_progress=advance,
        )
    save_report(out, report)
    _print(report)
    print_diagnosis(report["diagnosis"])
    print(f"Report: {out}")


def _print(report: dict[str, Any]) -> None:
    """Print the report on one screen: AUCs beside size, calls, calibration, and how far the data shifted."""
    from lungvae_core.data.counted import counted_in_words

    nodule, shift = report["units"]["nodule"], report["external"]["code_shift"]
    chosen = next(one for one in report["settings_chosen"] if one["unit"] == "nodule")
    for leak in report["leaks"]:
        print(f"LEAK: {leak}")
    print(
        f"{report['model']['name']} on {report['data']['name']}: {report['task_in_words']}, label rule "
        f"{report['label_rule']}; {nodule['patients']} patients, {nodule['count']} nodules, "
        f"{nodule['malignant']} malignant."
    )
    print(counted_in_words(report["data"]))
    print("Classifier, calibration and threshold are the model's own. 95 % intervals by resampling patients.")
    _print_units(report)
    _print_thresholds(chosen)
    if best := report["comparisons"].get("best_size"):
        pair = best["paired"]
        less = with_interval(pair["difference"], pair["low"], pair["high"], signed=True)
        print(f"\nAUC per nodule less that of {best['baseline']}: {less}, p = {number(pair['p'])}.")
    print(
        f"Codes: own and new data are told apart with AUC {interval(shift['auc_of_origin'])}; "
        f"{shift['far']:.1%} of slices lie farther from the training slices than all but 1 % of these."
    )
    print(f"Patients that the model has learned from were recognised {report['external']['seen']}.")
    if chosen["notes"]:
        print(chosen["notes"])


def _print_units(report: dict[str, Any]) -> None:
    """Print one row per figure and one column per unit."""
    units = report["units"]
    rows = {
        name.replace("_", " "): [units[unit][name] for unit in units]
        for name in ("auc", "sensitivity", "specificity", "balanced_accuracy", "ece")
    }
    rows["calibration slope (1)"] = [report["calibration"][unit]["slope"] for unit in units]
    rows["calibration intercept (0)"] = [report["calibration"][unit]["intercept"] for unit in units]
    for name, baseline in report["baselines"].items():
        rows[f"auc, {name} alone"] = [baseline[unit]["auc"] if unit in baseline else None for unit in units]
    print(f"\n{'':<28}" + "".join(f"{unit:>26}" for unit in units))
    for name, cells in rows.items():
        print(f"{name:<28}" + "".join(f"{interval(cell):>26}" for cell in cells))


def _print_thresholds(chosen: dict[str, Any]) -> None:
    print(
        "\nSensitivity per nodule          by the model's own threshold (specificity found)   by new data's"
    )
    both = zip(chosen["threshold_by_own_scores"], chosen["threshold_by_the_new_data_optimistic"], strict=True)
    for own, new in both:
        print(
            f"  for a specificity of {own['specificity']:.2f}  {interval(own['sensitivity']):>22} "
            f"({interval(own['specificity_found'])})  {interval(new['sensitivity']):>22}"
        )
