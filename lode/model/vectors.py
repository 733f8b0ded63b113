"""Vectors that training does not change, computed once: what a frozen checkpoint makes of each text.

A frozen network costs as much in every epoch as in the first; its vectors (N, D) take the place of the input's array in training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lode.core.types import TensorSpec
from lode.model.batches import Rows, rows_per_forward
from lode.model.contracts import Examples, Progress


def constant_inputs(module: Any, changed: Collection[str]) -> dict[str, Any]:
    """Input -> its constant encoder; not those that augmentation changes, nor those of which a task reads the vectors of steps."""
    kept = {*changed, *getattr(module, "steps", {}).values()}
    pairs = zip(module.groups, module.encoders, strict=True)
    return {group.inputs[0]: encoder for group, encoder in pairs if encoder.constant and group.inputs[0] not in kept}


def specs_with(specs: Mapping[str, TensorSpec], encoders: Mapping[str, Any]) -> dict[str, TensorSpec]:
    """The specs with vectors in place of what these encoders read."""
    return {name: TensorSpec("float32", (encoders[name].width,)) if name in encoders else spec for name, spec in specs.items()}


def examples_with(
    examples: Examples, specs: Mapping[str, TensorSpec], encoders: Mapping[str, Any], device: str, progress: Progress
) -> Examples:
    """The rows with vectors in place of what these encoders read."""
    if not encoders:
        return examples
    made = {
        name: _vectors(encoder, name, examples.arrays[name], specs[name], device, progress) for name, encoder in encoders.items()
    }
    return replace(examples, arrays={**examples.arrays, **made})


@torch.inference_mode()
def _vectors(encoder: Any, name: str, array: np.ndarray, spec: TensorSpec, device: str, progress: Progress) -> np.ndarray:
    """float32 (N, D), in float32 arithmetic as in `predict`; texts of like length go together."""
    vectors_ND = np.empty((len(array), encoder.width), np.float32)
    size = rows_per_forward([spec])
    lengths_N = np.concatenate([(np.asarray(array[at : at + 8192]) != 0).sum(axis=1) for at in range(0, len(array), 8192)])
    order = np.argsort(lengths_N, kind="stable")
    rows = Rows(Examples(len(array), {name: array}, None), {name: spec}, device)
    encoder.eval()
    for start in range(0, len(order), size):
        index = order[start : start + size]
        for batch in rows.batches(index, size):
            vectors_ND[index] = encoder([batch.inputs[name]]).float().cpu().numpy()
        progress("vectors", start + len(index), len(order), {})
    return vectors_ND
