"""Two processes training one model give what one gives with the same global batch; who does what in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.fit import fit
from lungvae_core.training.parallel import Team, first_process, torchrun_size
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import override, preset
from tests.conftest import few_guides
from tests.training import together
from tests.training.together import Job

CLOSE = 1e-5
SMALL = {"width": 4, "dimensions": 4, "epochs": 2, "batch_size": 33, "precision": "float32"}
JOINT = {"width": 8, "dimensions": 8, "rounds": 1, "round_epochs": 1, "free_bits": 0.05}
ALIKE = (
    *("gvae", "dirvae", "guided", "laplace", "sharp", "rest-of-one", "rest-of-one-released"),
    *("stopped", "exploded"),
)


def team(rank: int, size: int) -> Team:
    """A team of `size` as its member `rank` sees it, without the others."""
    member = Team(torch.device("cpu"))
    member.rank, member.size = rank, size
    return member


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 33, 64, 65])
def test_shares_cover_the_batch_and_their_means_average_to_its_mean(rows: int, size: int) -> None:
    members = [team(rank, size) for rank in range(size)]
    shares = [member.share(rows) for member in members]
    assert all(share.total == rows for share in shares)
    if rows >= size:
        assert [row for share in shares for row in range(share.start, share.stop)] == list(range(rows))
        assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1
    else:  # everybody has all of it
        assert all((share.start, share.stop) == (0, rows) for share in shares)
        assert all(share.whole for share in shares)
    losses = torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    weighted = [
        losses[share.start : share.stop].mean() * member.weight(share)
        for member, share in zip(members, shares, strict=True)
    ]
    torch.testing.assert_close(torch.stack(weighted).mean(), losses.mean())
    assert sum(m.weight(s) for m, s in zip(members, shares, strict=True)) == pytest.approx(size)


def test_a_team_of_one_needs_nobody() -> None:
    alone = Team(torch.device("cpu"))
    assert (alone.size, alone.rank, alone.first) == (1, 0, True)
    values = torch.rand(3)
    assert alone.mean(values) is values
    assert [alone.any(flag) for flag in (True, False)] == [True, False]
    assert alone.first_does(lambda: 7) == 7
    module = torch.nn.Linear(2, 1)
    assert alone.wrap(module) is module
    with pytest.raises(ZeroDivisionError):  # alone, nothing is between it and its error
        alone.first_does(lambda: 1 // 0)


def test_only_torchrun_makes_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's scheduler may set the same names for reasons of its own."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert torchrun_size() == 1
    assert first_process()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert torchrun_size() == 4
    assert not first_process()


def test_apples_gpus_do_not_make_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="without torchrun"):
        Team(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"it has 1 GPU\(s\)"):
        Team(torch.device("cuda"))


@pytest.fixture(scope="module")
def jobs(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """What the two processes are to train, in turn."""
    base = tmp_path_factory.mktemp("two")
    data = SliceSet.open(tiny_data)
    train = len(Run.create(base / "split", preset("gvae"), data, device="cpu").split(data.table)[0])

    def job(name: str, preset_: str, **changes: Any) -> Job:
        return Job(preset_, str(tiny_data), str(base / name), {**SMALL, **changes})

    # With a rest of one slice, of which neither process can have a part.
    rest = {"batch_size": next(size for size in range(20, train) if train % size == 1), "epochs": 1}
    stopped = job("stopped", "gvae", batch_size=9)
    return {
        "gvae": job("gvae", "gvae", **JOINT),
        "dirvae": job("dirvae", "dirvae", **JOINT),
        "laplace": job("laplace", "dirvae", **{**JOINT, "sampler": "laplace", "rounds": 0, "epochs": 1}),
        "guided": job(
            "guided",
            "dirvae-guided",
            epochs=1,
            **few_guides("gvae-guided"),
            linear_path=True,
            lesion_layer=True,
            guided_layers=4,
            guided_ratings=5,
            guided_anchor=1,
            feature=1,  # whose network, as that which reads ratings, the first process learns alone
            guided_apart=50,
            learning_rate=5e-4,  # a higher one makes more of the last digits of a sum
        ),
        "sharp": job("sharp", "gvae-sharp", epochs=1),
        "rest-of-one": job("rest-of-one", "gvae", **rest, free_bits=0.05),
        "rest-of-one-released": job("rest-of-one-released", "paper-dirvae", **rest),
        "stopped-first": replace(stopped, stop_at=(1, 2)),  # asked every eight batches
        "stopped-until": replace(stopped, resume=True, until=1),
        "stopped": replace(stopped, resume=True),
        "exploded": replace(
            job("exploded", "gvae", on_nonfinite="halve", schedule="constant"), explode=(1, 6)
        ),
        "refused": job("gvae", "gvae"),
        "exploded-for-good": replace(job("stop", "gvae"), explode=(1, 2)),
    }


@pytest.fixture(scope="module")
def results(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    """What became of the jobs in two processes that torchrun started: for each process, by name."""
    base = tmp_path_factory.mktemp("torchrun")
    (base / "plan.json").write_text(json.dumps([asdict(job) for job in jobs.values()]))
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*run, together.__file__, base / "plan.json", base],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    each = [json.loads((base / f"{rank}.json").read_text()) for rank in range(2)]
    return [dict(zip(jobs, found, strict=True)) for found in each]


@pytest.fixture(scope="module")
def alone(
    jobs: dict[str, Job], results: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The runs of the same jobs, trained by this process alone."""
    base = tmp_path_factory.mktemp("one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ALIKE:
        job = replace(jobs[name], out=str(base / name), resume=False)
        assert together.do(job if job.explode is None else replace(job, explode=(0, 6)), 0)["finished"]
    torch.set_num_threads(threads)
    return {name: base / name for name in ALIKE}


@pytest.mark.long
@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_what_one_gives(
    name: str, jobs: dict[str, Job], results: list[dict], alone: dict[str, Path]
) -> None:
    assert [found[name] for found in results] == [{"finished": True}] * 2
    two, one = Run.open(jobs[name].out), Run.open(alone[name])
    assert (two.info.processes, one.info.processes) == (2, 1)
    ours, theirs = (load_tensors(run.folder / "model.safetensors")[0] for run in (two, one))
    assert ours.keys() == theirs.keys()
    apart = torch.cat(
        [(ours[key] - theirs[key]).abs().flatten() for key in ours if not key.endswith("num_batches_tracked")]
    )
    # Adam's first steps are the signs of gradients, so a weight whose gradient is rounding alone goes either
    # way: one in many thousands may be a step or two apart.
    assert float((apart > CLOSE).float().mean()) < 1e-3
    assert float(apart.max()) < 10 * CLOSE
    for a, b in zip(two.metrics(), one.metrics(), strict=True):
        # The KL sums hundreds of such steps: 2.5e-5 apart on a processor that adds in another order.
        assert a["validation"].pop("kl") == pytest.approx(b["validation"].pop("kl"), rel=5 * CLOSE)
        assert a["validation"] == pytest.approx(b["validation"], rel=CLOSE, abs=CLOSE)
        for term in ("loss", "reconstruction"):
            assert a["train"][term] == pytest.approx(b["train"][term], rel=CLOSE)
        # A guide is trained on codes that rounding moved, and magnifies that in what it asks for.
        joint = a["phase"] == "joint"
        for term in a["train"].keys() - {"gradient_norm"}:
            assert a["train"][term] == pytest.approx(b["train"][term], rel=1e-3 if joint else CLOSE)
        assert a["train"]["gradient_norm"] == pytest.approx(b["train"]["gradient_norm"], rel=1e-3)
        assert {k: a.get(k) for k in ("epoch", "phase", "learning_rate", "beta", "halvings")} == {
            k: b.get(k) for k in ("epoch", "phase", "learning_rate", "beta", "halvings")
        }


@pytest.mark.long
def test_the_first_process_alone_writes_the_run(
    jobs: dict[str, Job], results: list[dict], alone: dict[str, Path]
) -> None:
    names = [{path.name for path in Path(folder).iterdir()} for folder in (jobs["gvae"].out, alone["gvae"])]
    assert names[0] == names[1]
    lines = (Path(jobs["gvae"].out) / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3


@pytest.mark.long
def test_two_processes_stop_together_and_go_on(jobs: dict[str, Job], results: list[dict]) -> None:
    """That the resumed run is the unbroken one is tested above."""
    for name in ("stopped-first", "stopped-until"):
        assert [found[name] for found in results] == [{"finished": False}] * 2
    assert len(Run.open(jobs["stopped"].out).metrics()) == 2


@pytest.mark.long
def test_a_problem_of_one_is_reported_by_both(jobs: dict[str, Job], results: list[dict]) -> None:
    for found in results:
        assert "already holds a run" in found["refused"]["error"]
        assert "not a finite number in epoch 1, batch 2" in found["exploded-for-good"]["error"]


@pytest.mark.long
def test_one_process_resumes_what_two_began(
    tiny_data: Path, jobs: dict[str, Job], results: list[dict], tmp_path: Path
) -> None:
    """And ends where one process would have, stop or no stop."""
    folder = Path(jobs["exploded-for-good"].out)
    assert load_tensors(folder / "last.safetensors")[1]["epoch"] == 0
    data = SliceSet.open(tiny_data)
    config = override(preset("gvae"), SMALL)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run, finished = fit(config, data, folder, device="cpu", resume=True)
    whole, _ = fit(config, data, tmp_path / "whole", device="cpu")
    torch.set_num_threads(threads)
    assert finished
    ours, theirs = (load_tensors(each.folder / "model.safetensors")[0] for each in (run, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
