"""The random changes of batches: each input by itself, then rows mixed with rows (mixup, cutmix), and the loss of mixed rows.

Everything stays on the device. Next to read: `Augment` in `lode/model/modules.py`, and the families' `lode/model/neural.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby, islice
from typing import Any

import torch

from lode.model.affine import chain, warp
from lode.model.batches import Batch
from lode.model.contracts import Task
from lode.model.modules import Augment

_AHEAD, _MOST_NUMBERS = 32, 1 << 17
"""Batches that are looked at, and numbers that are changed at once: one batch of texts is so small that its time goes into calls."""


class Changes:
    """Changes batches in place. made: the augmentations of each input, in the order of the file; mixing ones come after all others."""

    def __init__(self, made: Mapping[str, Sequence[Augment]]) -> None:
        self.alone = {name: [step for step in steps if not step.mixes] for name, steps in made.items()}
        self.mixing = {name: [step for step in steps if step.mixes] for name, steps in made.items()}
        self.mixing = {name: steps for name, steps in self.mixing.items() if steps}
        self.ahead = [name for name, steps in self.alone.items() if steps and all(step.ahead for step in steps)]

    def __call__(self, batches: Iterator[list[Batch]], generator: torch.Generator) -> Iterator[list[Batch]]:
        """The same batches, each as a list of its pieces, changed when their turn comes, some inputs a few batches ahead of it."""
        while run := list(islice(batches, _AHEAD if self.ahead else 1)):
            for name in self.ahead:
                _change_together([piece for batch in run for piece in batch], name, self.alone[name], generator)
            for batch in run:
                for piece in batch:
                    self._change(piece, generator)
                yield batch

    def alone_changed(self, name: str, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One input changed by its own augmentations, no rows mixed."""
        return _changed(x, self.alone[name], generator)

    def _change(self, batch: Batch, generator: torch.Generator) -> None:
        for name, steps in self.alone.items():
            if name not in self.ahead:
                batch.inputs[name] = _changed(batch.inputs[name], steps, generator)
        if self.mixing:
            self._mix(batch, generator)

    def _mix(self, batch: Batch, generator: torch.Generator) -> None:
        """One permutation for all inputs; with several mixed inputs the share is the mean of theirs, since each is a part of the row."""
        device = batch.inputs[next(iter(self.mixing))].device
        partner_B = torch.randperm(batch.num_rows, generator=generator, device=device)
        shares = []
        for name, steps in self.mixing.items():
            batch.inputs[name], share = _one_of(steps, batch.inputs[name], partner_B, generator)
            shares.append(share)
        batch.mix = partner_B, torch.stack(shares).mean()


def _change_together(batches: Sequence[Batch], name: str, steps: Sequence[Augment], generator: torch.Generator) -> None:
    """One input of several batches: some of like length, up to a power of two, one below the other, padded with 0 to the longest."""

    def length(batch: Batch) -> int:
        return batch.inputs[name].shape[1]

    for _, group in groupby(sorted(batches, key=length), lambda batch: (length(batch) - 1).bit_length()):
        alike = list(group)
        size = max(1, _MOST_NUMBERS // max(batch.inputs[name].numel() for batch in alike))
        for some in (alike[at : at + size] for at in range(0, len(alike), size)):
            rows = [batch.num_rows for batch in some]
            x = some[0].inputs[name].new_zeros(sum(rows), length(some[-1]))
            for batch, place in zip(some, x.split(rows), strict=True):
                place[:, : length(batch)] = batch.inputs[name]
            for batch, changed in zip(some, _changed(x, steps, generator).split(rows), strict=True):
                batch.inputs[name] = changed[:, : length(batch)]


def _changed(x: torch.Tensor, steps: Sequence[Augment], generator: torch.Generator) -> torch.Tensor:
    """The steps one after the other; several affine ones in a row move every pixel once."""
    for is_affine, group in groupby(steps, lambda step: step.affine):
        run = list(group)
        if is_affine and len(run) > 1:
            x = warp(x, reduce(chain, (step.matrix(len(x), x.device, generator) for step in run)))
            continue
        for step in run:
            x = step(x, generator)
    return x


def _one_of(
    steps: Sequence[Augment], x: torch.Tensor, partner_B: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One way of mixing for each batch, all equally likely. All are computed: that is cheap, and asking which one would stop a GPU."""
    mixed, share = steps[0].mix(x, partner_B, generator)
    if len(steps) == 1:
        return mixed, share
    choice = torch.randint(len(steps), (), generator=generator, device=x.device)
    for number, step in enumerate(steps[1:], start=1):
        other, other_share = step.mix(x, partner_B, generator)
        is_this = torch.eq(choice, number)
        mixed, share = torch.where(is_this, other, mixed), torch.where(is_this, other_share, share)
    return mixed, share


def output_loss(task: Task, scores: Any, batch: Batch, name: str) -> torch.Tensor | None:
    """Mean loss of one output over the rows that have a target; None where no row has one.

    scores: (B, K), or (B * members, K) with a row's members side by side.
    """
    keep = batch.keep.get(name)
    if keep is not None and not len(keep):
        return None
    target = batch.targets[name] if keep is None else batch.targets[name].index_select(0, keep)
    loss = task.loss(*_aligned(scores, target, keep, batch.num_rows))
    if batch.mix is None:
        return loss
    partner_B, share = batch.mix
    # Row i against its partner's target is, seen from the target, row j against the row whose partner it is: no gaps to look for
    source_B = torch.argsort(partner_B)
    rows = source_B if keep is None else source_B.index_select(0, keep)
    return share * loss + (1.0 - share) * task.loss(*_aligned(scores, target, rows, batch.num_rows))


def _aligned(
    scores: torch.Tensor, target: torch.Tensor, rows: torch.Tensor | None, num_rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores of some rows (int64; None is all), and the targets repeated for each row's members."""
    members = len(scores) // num_rows
    if rows is not None:
        scores = scores.unflatten(0, (num_rows, members)).index_select(0, rows).flatten(0, 1)
    return scores, target if members == 1 else target.repeat_interleave(members, dim=0)
