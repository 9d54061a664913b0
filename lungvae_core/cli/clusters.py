"""`lungvae clusters`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import RunFolder
from lungvae_core.cli.progress import progress_bar
from lungvae_core.number_text import number


@app.command()
def clusters(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Write to this file, not into the run.")] = None,
    unit: Annotated[str, typer.Option(help="What is clustered: nodule (mean code) or slice.")] = "nodule",
    seed: Annotated[int, typer.Option(min=0, help="Seed of starts, draws and shuffles.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the draws.")] = False,
) -> None:
    """Group lesions by their codes with k-means, CLASSIX and HDBSCAN; write clusters.json into the run.

    Reports what the groups agree with beyond chance (malignancy, size, ratings, place, patient), and whether
    other patients give the same groups. No setting is chosen by a label.
    """
    from lungvae_core.explore.clusters.report import FILE, make_clusters
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    with progress_bar("clustering") as advance:
        report = make_clusters(opened, unit=unit, seed=seed, quick=quick, out=out, on_progress=advance)
    _print(run, report)
    print(f"\nKept in {out or run / FILE}.")


def _print(run: Path, report: dict[str, Any]) -> None:
    from lungvae_core.data.counted import counted_in_words

    unit = report["unit"]
    print(
        f"{run}: {report['units']:,} {unit}s of {report['patients']:,} patients, in "
        f"{report['dimensions']} dimensions: {report['space']}."
    )
    print(
        f"Malignant {report['labelled']['malignant']:,} of {report['labelled']['units']:,} labelled "
        f"{unit}s ({report['label_rule']}); {report['resamples']} draws of patients, "
        f"{report['permutations']} shuffles, {report['featureless']} sets without groups, "
        f"seed {report['seed']}."
    )
    print(counted_in_words(report))
    if report["labels_shaped_codes"]:
        print("Labels shaped these codes (joint phase): what is said of malignancy is no test.")
    for method in report["methods"].values():
        _print_method(method)
    if report["maps"]:
        print("\nMaps (1: neighbours are kept; about 0.5: at random):")
    for one in report["maps"]:
        figures = ", ".join(
            f"k={k} {trust:.3f}/{whole:.3f}"
            for k, trust, whole in zip(
                one["neighbours"], one["trustworthiness"], one["continuity"], strict=True
            )
        )
        print(f"  {one['title']:<6} of {one['unit']}s: trustworthiness/continuity {figures}")


def _print_method(method: dict[str, Any]) -> None:
    bare, steady = method["featureless"], method["stability"]
    print(f"\n{method['title']}: {method['count']} clusters, {method['noise']:.0%} in none")
    print(f"  settings {_settings(method['settings'])}: {method['chosen_by']}")
    print(
        f"  silhouette {number(method['silhouette'], 2)} (without groups "
        f"{number(bare['silhouette']['value'], 2)}); adjusted Rand between draws of patients "
        f"{number(steady['rand']['value'], 2)} (without groups {number(bare['rand']['value'], 2)})"
    )
    if method["attributes"]:
        print(f"  {'':<22}{'known':>8}{'AMI':>8}{'chance':>9}{'NMI':>8}{'chance':>9}{'p':>8}")
    for one in method["attributes"]:
        mark = "  confound" if one["kind"] == "confound" else ""
        print(
            f"  {one['title']:<22}{one['units']:>8,}"
            f"{one['ami']['value']:>8.3f}{one['ami']['null_high']:>9.3f}"
            f"{one['nmi']['value']:>8.3f}{one['nmi']['null_high']:>9.3f}{one['ami']['p']:>8.3f}{mark}"
        )
        if "purity" in one:
            purity = one["purity"]
            print(f"  {'  purity':<30}{purity['value']:>8.3f}{purity['null_high']:>9.3f}")
    for one in method["clusters"]:
        alike = number(one["jaccard"]["value"], 2)
        print(f"  {one['cluster']}. {one['name']} (Jaccard {alike}): {one['words']}")


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
