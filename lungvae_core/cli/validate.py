"""`lungvae validate`: a trained model on other data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.errors import UserError


@app.command()
def validate(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in models/ or runs/.")],
    data: Annotated[Path, typer.Option(help="The other data set's folder.")],
    out: Annotated[Path, typer.Option(help="The report, a json file.")],
    task: Annotated[
        str, typer.Option(help="mvb: malignant against benign; mvr: malignant against the rest.")
    ] = "mvb",
    label_rule: Annotated[
        str, typer.Option(help="median_high (the paper's), mean, three_readers or strict.")
    ] = "median_high",
    leave_out_seen: Annotated[
        bool, typer.Option("--leave-out-seen", help="Leave out the patients that the model has learned from.")
    ] = False,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Test on them too; the report then says that it leaks.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer resamples, no reconstruction; not to be quoted.")
    ] = False,
) -> None:
    """Judge a trained model, with its own classifier, calibration and threshold, on data new to it."""
    from lungvae_core.cli.models import _bar
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.evaluation.external import validate as judge
    from lungvae_core.evaluation.report import save_report
    from lungvae_core.serving.registry import Registry

    if leave_out_seen and include_seen:
        raise UserError("--leave-out-seen and --include-seen exclude each other; choose one.")
    if out.suffix != ".json" or out.is_dir():
        raise UserError(f"The report is a json file; {out} is not named like one.")
    loaded = Registry().load(model)
    opened = SliceSet.open(data)
    with _bar("encoding", len(opened)) as advance:
        report = judge(
            loaded.run,
            opened,
            task=task,
            label_rule=label_rule,
            seen="leave_out" if leave_out_seen else "include" if include_seen else "refuse",
            name=loaded.entry.name,
            seed=seed,
            quick=quick,
            on_progress=advance,
        )
    save_report(out, report)
    _print(report)
    print(f"Report: {out}")


def _print(report: dict[str, Any]) -> None:
    """The report in a screen: AUCs beside size, calls, calibration, and how far the data lie from home."""
    nodule, shift = report["units"]["nodule"], report["external"]["code_shift"]
    for leak in report["leaks"]:
        print(f"LEAK: {leak}")
    print(
        f"{report['model']['name']} on {report['data']['name']}: {report['task_in_words']}, label rule "
        f"{report['label_rule']}; {nodule['patients']} patients, {nodule['count']} nodules, "
        f"{nodule['malignant']} malignant."
    )
    print("Classifier, calibration and threshold are the model's own. 95 % intervals by resampling patients.")
    print(f"\n{'':<28}" + "".join(f"{unit:>26}" for unit in report["units"]))
    rows = {
        name.replace("_", " "): [report["units"][unit][name] for unit in report["units"]]
        for name in ("auc", "sensitivity", "specificity", "balanced_accuracy", "ece")
    }
    rows["calibration slope (1)"] = [report["calibration"][unit]["slope"] for unit in report["units"]]
    rows["calibration intercept (0)"] = [report["calibration"][unit]["intercept"] for unit in report["units"]]
    for name, baseline in report["baselines"].items():
        rows[f"auc, {name} alone"] = [
            baseline[unit]["auc"] if unit in baseline else None for unit in report["units"]
        ]
    for name, cells in rows.items():
        print(f"{name:<28}" + "".join(f"{_cell(cell):>26}" for cell in cells))
    print(
        "\nSensitivity per nodule          by the model's own threshold (specificity found)   by new data's"
    )
    chosen = next(one for one in report["settings_chosen"] if one["unit"] == "nodule")
    both = zip(chosen["threshold_by_own_scores"], chosen["threshold_by_the_new_data_optimistic"], strict=True)
    for own, new in both:
        print(
            f"  for a specificity of {own['specificity']:.2f}  {_cell(own['sensitivity']):>22} "
            f"({_cell(own['specificity_found'])})  {_cell(new['sensitivity']):>22}"
        )
    if best := report["comparisons"].get("best_size"):
        pair = best["paired"]
        print(
            f"\nAUC per nodule less that of {best['baseline']}: {pair['difference']:+.3f} "
            f"({pair['low']:+.3f} to {pair['high']:+.3f}), p = {pair['p']:.3f}."
        )
    print(
        f"Codes: own and new data are told apart with AUC {_cell(shift['auc_of_origin'])}; "
        f"{shift['far']:.1%} of slices lie farther from the training slices than all but 1 % of these."
    )
    if chosen["notes"]:
        print(chosen["notes"])


def _cell(figure: dict[str, Any] | None) -> str:
    """0.912 (0.890-0.931), or a dash."""
    if figure is None or figure["value"] is None or figure["value"] != figure["value"]:
        return "-"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.2f} to {figure['high']:.2f})"
