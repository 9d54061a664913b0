"""`lungvae measure`: measured traversals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="A run's or model's folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A data set with readers' masks, to hold the outlines against.", show_default=False
        ),
    ] = None,
    starts: Annotated[int, typer.Option(min=5, help="Lesions to start from, one a patient.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the lesions drawn and the intervals.")] = 0,
    quick: Annotated[bool, typer.Option(help="16 lesions, 5 steps: a first look.")] = False,
) -> None:
    """Move every dimension, measure the lesions that come out, and name what each dimension does."""
    from rich.progress import Progress

    from lungvae_core.data.slices import SliceSet
    from lungvae_core.explore.measured.traverse import RESAMPLES, STEPS, measure_run
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    slices = None if data is None else SliceSet.open(data)
    words = [f"lungvae measure {run.name}", *([f"--data {data.name}"] if data else [])]
    words += [f"--starts {starts}", f"--seed {seed}", *(["--quick"] if quick else [])]
    with Progress(transient=True) as bar:
        task = bar.add_task("measuring", total=opened.config.model.dimensions)
        found = measure_run(
            opened,
            slices,
            starts=min(starts, 16) if quick else starts,
            steps=5 if quick else STEPS,
            resamples=200 if quick else RESAMPLES,
            seed=seed,
            command=" ".join(words),
            on_progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    _print(found)
    print(f"{run}: measured {found['dimensions_count']} dimensions in {found['seconds']:.0f} s.")


def _print(found: dict[str, Any]) -> None:
    """The names, strongest first, with the number behind each."""
    print(f"{found['rule']} Names are for rising values.")
    print(
        f"{found['starts']['patients']} starting lesions, one a patient, {found['steps']} steps, "
        f"seed {found['seed']}; {found['outlined']:.1%} of the decoded lesions could be outlined."
    )
    place = found["moved"].index
    named = [each for each in found["dimensions"] if each["properties"]]
    named.sort(key=lambda each: -abs(each["moved"][each["properties"][0]][place("effect")]))
    for each in named:
        key = each["properties"][0]
        change, low, high, effect, spearman, _ = each["moved"][key]
        unit = found["properties"][key]["unit"]
        print(
            f"z {each['dimension']:<3} {each['name']:<52} {key} {change:+.3g} ({low:+.3g} to {high:+.3g})"
            f"{' ' + unit if unit else ''}, {effect:+.2f} SD, Spearman {spearman:+.2f}, "
            f"selectivity {each['selectivity']:.2f}"
        )
    for words in dict.fromkeys(each["name"] for each in found["dimensions"] if not each["properties"]):
        at = [each["dimension"] for each in found["dimensions"] if each["name"] == words]
        print(f"{words}: {len(at)} dimensions ({', '.join(map(str, at[:12]))}{' …' if len(at) > 12 else ''})")
    for key, told in (("shuffled", "steps shuffled"), ("mixed", "each lesion along another dimension")):
        if control := found["controls"].get(key):
            print(f"Control, {told}: {control['named']} of {control['dimensions']} got a name.")
    for key, told in (("real", "real slices"), ("reconstructed", "their reconstructions")):
        if found["outlines"] and key in found["outlines"]:
            whole = found["outlines"][key][0]
            print(
                f"Outlines of {whole['n']} {told} against the readers' masks: Dice {whole['dice']:.3f}, "
                f"found over readers' area {whole['area_ratio']:.2f} (median)."
            )
