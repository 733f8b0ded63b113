"""What an objective computes once with the weights that training starts from, kept beside the checkpoints: a resumed fit reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save
from torch import nn

from lode.core.disk import write_whole
from lode.model.language.contracts import Objective


def prepared(
    objective: Objective, decoder: nn.Module, arrays: Mapping[str, np.ndarray], device: str, path: Path | None
) -> dict[str, np.ndarray]:
    """`Objective.prepare`, or what an earlier, killed fit found. arrays: of tokens; path: the file it is kept in, None keeps nothing."""
    if path is not None and path.is_file():
        return dict(load_file(path))
    made = objective.prepare(decoder, arrays, device)
    if made and path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [save(made)])
    return made
