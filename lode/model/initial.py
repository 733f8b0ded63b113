"""First weights by another rule than torch's own, for `model: {init: ...}`. Drawn from torch's default generator, which families seed."""

from __future__ import annotations

import torch
from torch import nn

_SPREAD = 0.05
"""Of normal and uniform: Keras's default for both."""
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)


@torch.no_grad()
def initialise(module: nn.Module, word: str) -> None:
    """Weights of linear layers and convolutions anew; their biases become 0. Tables, norms and everything else stay,
    and so does what is in a module whose `own_weights` is true (pretrained ones).

    default: leaves all as it is. normal: spread 0.05; uniform: within 0.05. xavier: Glorot and Bengio 2010, uniform.
    he: He 2015, arXiv 1502.01852, normal, for relu. orthogonal: Saxe 2014, arXiv 1312.6120.
    """
    if word == "default" or getattr(module, "own_weights", False):
        return
    if isinstance(module, _LINEAR):
        _fill(module.weight, word)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        initialise(child, word)


def _fill(weight: torch.Tensor, word: str) -> None:
    if word == "normal":
        nn.init.normal_(weight, std=_SPREAD)
    elif word == "uniform":
        nn.init.uniform_(weight, -_SPREAD, _SPREAD)
    elif word == "xavier":
        nn.init.xavier_uniform_(weight)
    elif word == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        # torch's own takes no weights that lie in memory as pictures do (channels last)
        weight.copy_(nn.init.orthogonal_(torch.empty_like(weight, memory_format=torch.contiguous_format)))
