"""`lungvae disentanglement`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.progress import task_bars
from lungvae_core.number_text import DASH, interval, number, with_interval

SCORE_ROWS = ("mig", "sap", "modularity", "dci_disentanglement", "dci_completeness")


@app.command()
def disentanglement(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs or models.")],
    phantom: Annotated[
        bool, typer.Option("--phantom", help="Also FactorVAE and BetaVAE scores, on generated slices; slow.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of folds, shuffles, resamples, generated slices.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer shuffles, resamples and slices.")] = False,
) -> None:
    """Score what each dimension encodes of ratings, sizes and phantom factors; write disentanglement.json.

    MIG, DCI, SAP, modularity and probes per nodule, raw and with size removed, each with its null of
    shuffled patients. For several runs it also prints mean and spread by prior.
    """
    import sys

    from lungvae_core.evaluation.disentanglement import assess as assessment
    from lungvae_core.evaluation.disentanglement import phantom_scores
    from lungvae_core.evaluation.disentanglement.compare import compare
    from lungvae_core.training.checkpoints import Run

    opened = [Run.open(folder) for folder in runs]  # report a wrong name before minutes of work
    sizes = (phantom_scores.QUICK if quick else phantom_scores.FULL) if phantom else None
    command = " ".join(["lungvae", *sys.argv[1:]])
    effort = assessment.QUICK if quick else assessment.FULL
    reports = []
    for run in opened:
        with task_bars(f"{run.folder.name}: ", time_left=True) as show:
            report = assessment.assess(
                run, phantom=sizes, effort=effort, seed=seed, command=command, on_progress=show
            )
        path = assessment.write(run, report)
        reports.append(report)
        _print_report(path, report)
    if len(reports) > 1:
        print_comparison(compare(reports))


def _print_report(path: Path, report: dict[str, Any]) -> None:
    from lungvae_core.data.counted import counted_in_words
    from lungvae_core.evaluation.disentanglement.assess import SPACES, VARIANTS
    from lungvae_core.evaluation.disentanglement.compare import PHANTOM_WORDS
    from lungvae_core.evaluation.disentanglement.scores import WORDS

    data = report["data"]
    effort = "few draws (--quick)" if report["quick"] else f"{report['effort']['draws']} null draws"
    print(f"{path}: {data['nodules']:,} nodules of {data['patients']:,} patients, {data['name']}.")
    print(counted_in_words(report))
    print(f"{report['seen']} Seed {report['seed']}, {effort}, {report['seconds']:.0f} s.")
    for space, variants in report["spaces"].items():
        for variant, part in variants.items():
            print(f"\n{SPACES[space].capitalize()}; {VARIANTS[variant]}.")
            _print_part(part)
    _print_attributes(report.get("attributes"))
    if report["phantom"]:
        print(f"\nPhantom: {report['phantom']['what']}, n = {report['phantom']['sizes']['free']:,}.")
        _print_part(report["phantom"]["free"])
        for name, title in PHANTOM_WORDS.items():
            print(f"{title:<36}{_figure(report['phantom']['moved'][name])}")
    print(
        f"\n95 % intervals; null: patients shuffled, mean and 95th percentile. {len(WORDS)} scores in 0..1."
    )


def _print_part(part: dict[str, Any]) -> None:
    from lungvae_core.evaluation.disentanglement.scores import WORDS

    for name in SCORE_ROWS:
        print(f"{WORDS[name]:<36}{_figure(part['scores'][name])}")
    for name, probe in part["probes"].items():
        measure = "AUC" if probe["measure"] == "auc" else "R2"
        line = (
            f"  {name:<16}{measure:<4}linear {_figure(probe['linear'])}; boosted {_figure(probe['boosted'])}"
        )
        alone = part.get("size_alone", {}).get(name)
        print(line if alone is None else f"{line}; size alone R2 {alone:.2f}")


def _print_attributes(part: dict[str, Any] | None) -> None:
    """Print how well the code predicts each rating, beside a constant and one reader against the others."""
    if part is None:
        return
    print(f"\nAttributes predicted per nodule, {part['tested']}. {part['note']}")
    print(f"  {'':<16}" + "".join(f"{title:>44}" for title in part["predictors"].values()))
    for name, entry in part["ratings"].items():
        cells = ""
        for predictor in part["predictors"]:
            cell = DASH
            if one := entry[predictor]:
                cell = f"{interval(one['within_one'])}, MAE {number(one['mae']['value'], 2)}"
            cells += f"{cell:>44}"
        print(f"  {name:<16}{cells}")


def _figure(figure: dict[str, Any]) -> str:
    null = figure["null"]
    return interval(figure) + (f", null {number(null['mean'])}, {number(null['high'])}" if null else "")


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print what `compare` returns: every group's mean and spread, then the differences between priors."""
    from lungvae_core.evaluation.disentanglement.compare import SPACE_WORDS, figure_words

    for group in comparison["groups"]:
        model, seeds = group["model"], sorted(run["seed"] for run in group["runs"])
        print(
            f"\n{group['prior']}, {SPACE_WORDS[group['space']]}: seed{'s' if len(seeds) > 1 else ''} "
            f"{', '.join(map(str, seeds))}, width {model['width']}, {model['dimensions']} dimensions, "
            f"{model['epochs']} epochs; {group['data']['nodules']:,} nodules."
        )
        for name, entry in group["figures"].items():
            spread = f"{entry['mean']:.3f}"
            if entry["sd"] is not None:
                spread += f", SD {entry['sd']:.3f}, {entry['min']:.3f} to {entry['max']:.3f}"
            print(f"  {figure_words(name):<52}{spread}, null {entry['null']:.3f}")
    if not comparison["differences"]:
        print("\nNo two priors with at least two alike runs each: nothing can be said of a difference.")
        return
    count = comparison["comparisons"]
    print(f"\nGaussian less Dirichlet, Welch's 95 % interval over seeds, {count} comparisons:")
    for entry in comparison["differences"]:
        clear = "clear after Bonferroni" if entry["clear"] else "not clear"
        print(
            f"  {figure_words(entry['figure']):<52}against {SPACE_WORDS[entry['second'][1]]:<12}"
            f"{with_interval(*(entry[name] for name in ('difference', 'low', 'high')), signed=True)}, p "
            f"{entry['p']:g}, higher in {entry['won']} of {entry['of']} pairs; {clear}"
        )
