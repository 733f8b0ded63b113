"""One of two processes that fit language models side by side: `python -m tests.flows.together RANK PORT FOLDER`.

It fits alone and with the other one in every strategy, breaks off, goes on, and writes what it found to FOLDER/found-RANK.json. All in
one start, because that costs more than the fits.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lode.core.errors import ModelError
from lode.model.contracts import Context, Family, Fitted
from lode.model.parallel import Team
from lode.model.training import Training
from tests.flows import writers

TRAINING = Training(
    steps=12,
    batch=8,
    learning_rate=1e-3,
    optimizer="adamw",
    schedule="constant",
    precision="fp32",
    clip=0.5,
    threads=1,
    judge_steps=4,
)
UNEVEN = replace(TRAINING, batch=7, accumulate=3)
"""One process has three rows of a batch, the other four: they meet in every piece all the same."""


class StoppedError(Exception):
    pass


def main(rank: int, port: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    alone, history = _fit(UNEVEN, None)
    found: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp", "tensor"):
        family, fitted = _fit(replace(UNEVEN, strategy=strategy), Team(rank, 2, strategy))
        found[strategy] = {"weights": writers.difference(alone, family), "losses": _apart(history, fitted)}
    for strategy in ("fsdp", "tensor"):
        training = replace(TRAINING, strategy=strategy, optimizer="muon", checkpoint_seconds=0.0)
        found[f"{strategy} resumed"] = _broken_off(training, rank, folder / strategy)
    found["indivisible"] = _refused(rank)
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def _fit(training: Training, team: Team | None, folder: Path | None = None, end: int | None = None) -> tuple[Family, Fitted]:
    def stop_there(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if end is not None and done >= end:
            raise StoppedError

    family, _ = writers.made()
    context = Context(folder=folder, training=training, team=team, progress=stop_there)
    return family, family.fit(writers.corpus(150), writers.corpus(30, 1), context)


def _broken_off(training: Training, rank: int, folder: Path) -> dict[str, Any]:
    """A fit of two that ends in its middle and goes on, beside one that does not; then its checkpoint in one process."""
    team = Team(rank, 2, training.strategy)
    whole, whole_fitted = _fit(training, team)
    try:
        _fit(training, team, folder, end=8)
    except StoppedError:
        dist.barrier()
    before = sorted(path.name for path in folder.glob("checkpoint*"))
    dist.barrier()
    again, fitted = _fit(training, team, folder)
    dist.barrier()
    kept = sorted(path.name for path in folder.glob("checkpoint*/*"))
    dist.barrier()
    alone = None
    if rank == 0:
        one, _ = _fit(training, None, folder)
        alone = writers.difference(again, one)
    dist.barrier()
    after = sorted(path.name for path in folder.glob("checkpoint*"))
    return {
        "weights": writers.difference(whole, again), "losses": _apart(whole_fitted, fitted), "before": before, "kept": kept,
        "alone": alone, "after": after,
    }  # fmt: skip


def _refused(rank: int) -> str:
    try:
        family, _ = writers.made(groups=1)
        family.fit(writers.corpus(20), None, Context(training=TRAINING, team=Team(rank, 2, "tensor")))
    except ModelError as error:
        return str(error)
    return ""


def _apart(one: Fitted, two: Fitted) -> float:
    keys = ("train_loss", "stop_loss")
    pairs = zip(one.history, two.history, strict=True)
    return max(abs(first[key] - second[key]) for first, second in pairs for key in keys if key in first)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
