"""`lungvae evaluate` and `lungvae report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import (
    Data,
    Device,
    Diagnoses,
    IncludeSeen,
    LeaveOutSeen,
    Ray,
    Threads,
    open_set,
    option,
    seen_choice,
    settings_of,
)
from lungvae_core.cli.progress import stop_on_signals, task_bars
from lungvae_core.evaluation.protocols.config import EvaluationConfig, evaluation_of
from lungvae_core.number_text import interval, number, with_interval

# The model's figures at its threshold, in the order in which they are printed.
FIGURES = (
    *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"),
    *("average_precision", "brier", "ece"),
)


@app.command()
def evaluate(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(help="The report, as report.json; by default where the Evaluation page finds it."),
    ] = None,
    preset: Annotated[str, option(EvaluationConfig, "preset")] = "dirvae",
    protocol: Annotated[str, option(EvaluationConfig, "protocol")] = "nested",
    task: Annotated[str, option(EvaluationConfig, "task")] = "mvb",
    label_rule: Annotated[str, option(EvaluationConfig, "label_rule")] = "median_high",
    folds: Annotated[int, option(EvaluationConfig, "folds")] = 5,
    seed: Annotated[int, option(EvaluationConfig, "seed")] = 0,
    seeds: Annotated[int, option(EvaluationConfig, "seeds")] = 1,
    nodule_rule: Annotated[str, option(EvaluationConfig, "nodule_rule")] = "chosen",
    nested: Annotated[
        Path | None, typer.Option(help="The nested report with which the leak table of `paper` begins.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the preset, as width=32; repeatable.")
    ] = None,
    quick: Annotated[bool, option(EvaluationConfig, "quick")] = False,
    diagnoses: Diagnoses = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the trainings; other tasks and label rules can share it.")
    ] = None,
    leave_out_seen: LeaveOutSeen = False,
    include_seen: IncludeSeen = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once. Default: one per core.")
    ] = None,
    ray: Ray = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Evaluate a preset in patient-grouped folds; after Ctrl-C the same command continues."""
    from lungvae_core.evaluation.protocols.evaluate import evaluate as run
    from lungvae_core.files import check_replaceable
    from lungvae_core.serving.jobs.evaluations import default_report
    from lungvae_core.training.device import pick_device

    config = evaluation_of(
        preset=preset,
        protocol=protocol,
        task=task,
        label_rule=label_rule,
        folds=3 if quick and folds == 5 else folds,
        seed=seed,
        seeds=seeds,
        nodule_rule=nodule_rule,
        changes=settings_of(set_),
        quick=quick,
    )
    out = out or default_report(f"{preset}-{task}-{label_rule}-{protocol}")
    check_replaceable(out)
    opened = open_set(data)
    with stop_on_signals("the current step") as stop, task_bars(time_left=True) as show:
        report = run(
            config,
            opened,
            out,
            work=work,
            nested=nested,
            diagnoses=diagnoses,
            seen=seen_choice(leave_out_seen, include_seen),
            workers=workers,
            ray=ray,
            device=str(pick_device(device)) if not ray else device,
            threads=threads,
            on_progress=lambda done, total, what: show(what, done, total),
            should_stop=stop.is_set,
        )
    if report is None:
        print("Stopped. The same command goes on from here.")
        raise typer.Exit(130)
    print_report(report)
    print(f"{out}: the report. For a page to send: lungvae report {out} --out {out.with_suffix('.html')}")


@app.command()
def report(
    report: Annotated[Path, typer.Argument(help="A report of `lungvae evaluate` or `lungvae validate`.")],
    out: Annotated[Path, typer.Option(help="The page, as report.html.")],
) -> None:
    """Write a report as one self-contained page to send or print."""
    from lungvae_core.evaluation.html import report_html

    report_html(report, out)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB.")


def print_report(report: dict[str, Any]) -> None:
    """Print the AUCs beside the baselines, the figures at the threshold, and the leak table."""
    from lungvae_core.data.counted import counted_in_words

    print(f"{report['task_in_words']}; {report['label_rule_in_words']}.")
    print(f"Protocol {report['protocol']}: {report['protocol_in_words']}.")
    if counted := counted_in_words(report["data"]):  # older reports lack the counts
        print(counted)
    for leak in report["leaks"]:
        print(f"LEAKS: {leak}")
    _print_aucs(report)
    print(f"\n{'model':<26}{'slice':>26}{'nodule':>26}{'patient':>26}")
    for figure in FIGURES:
        _line(figure.replace("_", " "), report["units"], figure)
    _print_comparisons(report["comparisons"] or {})
    if leak := report["leak"]:
        _print_leak(leak)
    print_diagnosis(report.get("diagnosis"))
    seeds = ", ".join(map(str, report["seeds"]))
    print(f"\nSeed(s) {seeds}; {report['hardware']}; {report['seconds']:.0f} s.")


def _print_aucs(report: dict[str, Any]) -> None:
    print(f"\n{'AUC':<26}{'slice':>26}{'nodule':>26}{'patient':>26}")
    _line("model", report["units"])
    for stage, figures in (report["stages"] or {}).items():
        _line(f"  {'before' if stage == 'vae' else 'after'} the joint phase", figures)
    for name, figures in (report["baselines"] or {}).items():
        _line(f"{name}{' (readers)' if figures['uses_readers'] else ''}", figures)


def _print_comparisons(comparisons: dict[str, Any]) -> None:
    for name, title in (("best_size", "the best size"), ("best", "the best baseline")):
        if compared := comparisons.get(name):
            pair = compared["paired"]
            less = with_interval(pair["difference"], pair["low"], pair["high"], signed=True)
            print(f"Against {title} ({compared['baseline']}), per nodule: {less}, p {number(pair['p'])}.")


def _print_leak(leak: dict[str, Any]) -> None:
    print(f"\n{'What the leak is worth':<34}{'AUC slice':>22}{'AUC nodule':>12}{'accuracy':>10}")
    for step in leak["steps"]:
        print(
            f"{step['step']:<34}{step['slice']:8.3f} ({step['low']:.3f}-{step['high']:.3f})"
            f"{step['nodule']:12.3f}{step['accuracy']:10.3f}"
        )


def print_diagnosis(diagnosis: dict[str, Any] | None) -> None:
    """Print AUCs against diagnoses and against the readers' opinion, if a table of diagnoses was given."""
    from lungvae_core.evaluation import report_words
    from lungvae_core.evaluation.report import DiagnosisPart

    if not diagnosis:
        return
    part = DiagnosisPart.model_validate(diagnosis)
    print(f"\n{report_words.diagnosis_about(part)}")
    for group in part.groups:
        print(report_words.diagnosis_group(group))
        print(f"{'AUC':<34}{'diagnosis':>26}{'opinion':>26}")
        for one in group.scores:
            confirmed, opinion = (report_words.figure(each, 2) for each in (one.diagnosis, one.opinion))
            print(f"{one.title:<34}{confirmed:>26}{opinion:>26}")


def _line(name: str, units: dict[str, Any], figure: str = "auc") -> None:
    cells = ""
    for unit in ("slice", "nodule", "patient"):
        cells += interval((units.get(unit) or {}).get(figure)).rjust(26)
    print(f"{name:<26}{cells}")
