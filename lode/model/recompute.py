"""Activation checkpointing: only what goes into each block is kept, the rest is computed again on the way back.

Chen 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from lode.core.errors import ModelError


@contextmanager
def blocks_again(module: nn.Module) -> Iterator[None]:
    """Inside, every block is computed twice in training. Blocks are the children of a list named `blocks`, and modules that say of
    themselves `computed_twice` (a decoder's layers).

    Errors: ModelError where the model has none.
    """
    blocks = [block for name, child in module.named_modules() if name.split(".")[-1] == "blocks" for block in child.children()]
    blocks += [block for block in module.modules() if getattr(block, "computed_twice", False)]
    if not blocks:
        raise ModelError(
            "train.checkpoint_activations: found a model without blocks, allowed is one with a transformer or a residual network in it. "
            "Remove the option; train.accumulate saves memory with every model."
        )
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_again(block))
        yield


@contextmanager
def _again(block: nn.Module) -> Iterator[None]:
    from torch.utils.checkpoint import checkpoint  # here: it loads more of torch than most fits need

    forward = block.forward
    norms = [child for child in block.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)]

    def twice(*inputs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*inputs)
        contexts = (lambda: (nullcontext(), _without_counting(norms))) if norms else None
        options: dict[str, Any] = {} if contexts is None else {"context_fn": contexts}
        return checkpoint(forward, *inputs, use_reentrant=False, **options)

    block.forward = twice  # type: ignore[method-assign]
    try:
        yield
    finally:
        del block.forward


@contextmanager
def _without_counting(norms: list[Any]) -> Iterator[None]:
    """Batch norm saw these rows the first time: its running mean and spread must not move again."""
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
