"""The contract suite of objectives: `check_objective(component)` for each file in lode/model/objectives, and for others.

Read `lode.model.language.contracts.Objective` first: every check below is one of its sentences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.contracts import Examples
from lode.model.language.contracts import Objective, Shape, TokenBatch
from lode.model.language.decoder import Decoder
from lode.model.language.rows import TokenRows, Unit
from lode.testing.extension import check_extension

VOCABULARY, CONTEXT = 23, 12
SHAPE = Shape(vocabulary=VOCABULARY, layers=2, width=16, heads=2, groups=1, head_width=8, hidden=24, context=CONTEXT)


def check_objective(component: Component) -> None:
    """Everything below. component: the word with the options that it needs."""
    check_extension("objective", component.type)
    objective: Objective = REGISTRIES["objective"].create(component)
    assert objective.reads in ("text", "chat", "pairs")
    check_loss(objective)
    check_pieces(objective)
    check_learning(objective)
    check_half_precision(objective)


def corpus(objective: Objective, seed: int = 0) -> Examples:
    """Documents of uneven lengths; of chats and pairs about half of the tokens are learned, and of every document its last ones."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, CONTEXT + 1, 24)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays: dict[str, np.ndarray] = {"tokens": random.integers(0, VOCABULARY, offsets[-1]).astype(np.uint16), "documents": offsets}
    if objective.reads != "text":
        learned = random.random(offsets[-1]) < 0.5
        learned[offsets[1:] - 1] = True
        arrays["learned"] = learned.astype(np.uint8)
    return Examples(len(lengths), arrays, None)


def decoder() -> Decoder:
    """The same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Decoder(SHAPE)


def batches(objective: Objective, taught: Decoder, batch: int, pieces: int = 1) -> list[list[TokenBatch]]:
    """All rows of the corpus, each batch in so many pieces."""
    examples = corpus(objective)
    unit: Unit = "pairs" if objective.reads == "pairs" else "documents"
    extra = objective.prepare(taught, examples.arrays, "cpu")
    rows = TokenRows(examples, unit, CONTEXT, "cpu", extra=extra)
    return list(rows.pieces(rows.trainable, batch, pieces))


def check_loss(objective: Objective) -> None:
    """One finite float32 number, the same for the same batch, whose gradient reaches every layer."""
    taught = decoder()
    (batch,), *_ = batches(objective, taught, 6)
    loss = objective.loss(taught, batch)
    assert loss.shape == () and loss.dtype == torch.float32 and bool(torch.isfinite(loss))
    assert torch.equal(loss, objective.loss(taught, batch)), "the same batch gave another loss"
    loss.backward()
    missing = [
        name for name, weight in taught.named_parameters() if weight.grad is None or not bool(torch.isfinite(weight.grad).all())
    ]
    assert not missing, f"no finite gradient reaches {', '.join(missing)}"


def check_pieces(objective: Objective) -> None:
    """It is a mean over what is learned: losses of pieces times their shares add up to the loss of the whole batch."""
    taught = decoder()
    with torch.no_grad():
        for (whole,), pieces in zip(batches(objective, taught, 6), batches(objective, taught, 6, 3), strict=True):
            total = sum(float(objective.loss(taught, piece)) * piece.share for piece in pieces)
            np.testing.assert_allclose(total, float(objective.loss(taught, whole)), rtol=1e-5, atol=1e-6)


def check_learning(objective: Objective) -> None:
    """Steps along its gradient make it smaller."""
    taught = decoder()
    (batch,), *_ = batches(objective, taught, 100)
    optimizer = torch.optim.Adam(taught.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss: Any = objective.loss(taught, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0], f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f}"


def check_half_precision(objective: Objective) -> None:
    """Under bf16 autocast it is still float32, and about the same."""
    taught = decoder()
    (batch,), *_ = batches(objective, taught, 6)
    exact = float(objective.loss(taught, batch).detach())
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.loss(taught, batch)
    loss.backward()
    assert loss.dtype == torch.float32 and abs(float(loss.detach()) - exact) < 0.05
