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
            help="A data set with readers' masks, to hold the outlines against, and with readers' ratings, "
            "from which a judge learns to read them in decoded images.",
            show_default=False,
        ),
    ] = None,
    starts: Annotated[int, typer.Option(min=5, help="Lesions to start from, one a patient.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the lesions drawn and the intervals.")] = 0,
    quick: Annotated[bool, typer.Option(help="16 lesions, 5 steps: a first look.")] = False,
    judge: Annotated[bool, typer.Option(help="Have a judge read the ratings that --data has.")] = True,
) -> None:
    """Move every dimension, measure the lesions that come out, and name what each dimension does."""
    from rich.progress import Progress

    from lungvae_core.cli.models import open_set
    from lungvae_core.explore.measured.judge import EPOCHS, QUICK_EPOCHS
    from lungvae_core.explore.measured.traverse import RESAMPLES, STEPS, measure_run
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    slices = None if data is None else open_set(data)
    words = [f"lungvae measure {run.name}", *([f"--data {data.name}"] if data else [])]
    words += [f"--starts {starts}", f"--seed {seed}", *(["--quick"] if quick else [])]
    words += [] if judge else ["--no-judge"]
    epochs = QUICK_EPOCHS if quick else EPOCHS
    with Progress(transient=True) as bar:
        task = bar.add_task("measuring", total=opened.config.model.dimensions)
        found = measure_run(
            opened,
            slices,
            starts=min(starts, 16) if quick else starts,
            steps=5 if quick else STEPS,
            resamples=200 if quick else RESAMPLES,
            seed=seed,
            judge_epochs=epochs if judge else 0,
            command=" ".join(words),
            on_progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    _print(found)
    _print_judged(found, opened.config.objective.guided)
    print(f"{run}: measured {found['dimensions_count']} dimensions in {found['seconds']:.0f} s.")


def _print(found: dict[str, Any]) -> None:
    """The names, strongest first, with the number behind each."""
    from lungvae_core.data.counted import counted_in_words

    print(f"{found['rule']} Names are for rising values.")
    print(
        f"{found['starts']['patients']} starting lesions, one a patient, of {found['starts']['of']}, "
        f"{found['steps']} steps, "
        f"seed {found['seed']}; {found['outlined']:.1%} of the decoded lesions could be outlined."
    )
    print(counted_in_words(found))
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
    if found["outlines"]:
        print(f"Readers' masks: {counted_in_words(found['outlines'])}")
    for key, told in (("real", "real slices"), ("reconstructed", "their reconstructions")):
        if found["outlines"] and key in found["outlines"]:
            whole = found["outlines"][key][0]
            print(
                f"Outlines of {whole['n']} {told} against the readers' masks: Dice {whole['dice']:.3f}, "
                f"found over readers' area {whole['area_ratio']:.2f} (median)."
            )


def _print_judged(measured: dict[str, Any], guided: tuple[str, ...]) -> None:
    """How good the judge is, and what it reads as the guided dimensions rise."""
    from typing import get_args

    from lungvae_core.data.counted import counted_in_words
    from lungvae_core.explore.measured import record
    from lungvae_core.vae.config import Rated

    judge = measured["judge"]
    if judge is None or "ratings" not in judge:
        print(f"Nothing was judged. {record.why_not_judged(measured)}")
        return
    print(f"Judge, learned from: {counted_in_words({'counted': judge['fitted']})}")
    for rating in judge["ratings"]["real"]:
        print(f"Judge of {rating}. {record.judge_sentence(measured, rating)}")
        print(f"  {record.judge_sentence(measured, rating, 'reconstructed')}")
    for at, guide in enumerate(guided):
        if guide in get_args(Rated):
            print(f"z {at}, guided by {guide}. {record.judged_sentence(measured, at, guide)}")
