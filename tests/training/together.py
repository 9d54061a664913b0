"""Trainings of a plan, one after another, in each of the processes that torchrun started.

`torchrun ... together.py PLAN FOLDER`: PLAN is a JSON list of `Job`s' fields. What became of each goes into
FOLDER/RANK.json: whether it finished, or the sentence that it ended with.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One call of `fit`."""

    preset: str
    data: str
    out: str
    changes: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    until: int | None = None
    stop_at: tuple[int, int] | None = None  # (rank, asked how often by then): only it wants to stop
    explode: tuple[int, int] | None = None  # (rank, which of its steps): only there the loss is no number


def do(job: Job, rank: int) -> dict[str, Any]:
    """Train as `job` says, as process `rank`."""
    from lungvae_core.data.slices import SliceSet
    from lungvae_core.errors import UserError
    from lungvae_core.training import fit as fit_module
    from lungvae_core.vae.config import override, preset

    asked = steps = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return job.stop_at is not None and job.stop_at[0] == rank and asked >= job.stop_at[1]

    whole = fit_module.objective

    def objective(*words: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        terms = whole(*words, **named)
        return replace(terms, loss=terms.loss * float("nan")) if (rank, steps) == job.explode else terms

    if job.explode is not None:
        fit_module.objective = objective
    try:
        _, finished = fit_module.fit(
            override(preset(job.preset), job.changes),
            SliceSet.open(job.data),
            Path(job.out),
            device="cpu",
            resume=job.resume,
            until=job.until,
            should_stop=stop,
        )
    except UserError as error:
        return {"error": str(error)}
    finally:
        fit_module.objective = whole
    return {"finished": finished}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    plan, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rank = int(os.environ["RANK"])
    jobs = [Job(**fields) for fields in json.loads(plan.read_text())]
    jobs = [
        replace(
            job,
            stop_at=None if job.stop_at is None else tuple(job.stop_at),
            explode=None if job.explode is None else tuple(job.explode),
        )
        for job in jobs
    ]
    (folder / f"{rank}.json").write_text(json.dumps([do(job, rank) for job in jobs]))


if __name__ == "__main__":
    main()
