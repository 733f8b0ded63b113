"""How weights are divided among processes: by blocks (FSDP2), each process fetches the others' parts when it needs them, or by products
(tensor parallel), each process computes a part of every large matrix product.

Divided weights are torch's DTensors. Weights keep what they say of themselves (`rate_factor`, `decay_factor`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from lode.core.errors import ModelError

_SAID = ("rate_factor", "decay_factor")


def by_blocks(module: nn.Module, size: int) -> Any:
    """`fully_shard` of each block, then of the rest; the module that fetches the rest, which gives `set_requires_gradient_sync`.

    Blocks are modules that are `computed_twice` (a decoder's layers), else the children, and those of lists. The rest stays whole from
    a forward pass to its backward, so that a loss may read the head.
    """
    from torch.distributed.fsdp import fully_shard

    with _keeping_words(module):
        mesh, trunk = _mesh(module, size), _trunk(module)
        blocks = [part for part in trunk.modules() if getattr(part, "computed_twice", False)]
        if not blocks:
            blocks = [part for child in trunk.children() for part in (child if isinstance(child, nn.ModuleList) else [child])]
        for part in blocks:
            if any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh)
        fully_shard(trunk, mesh=mesh)
    return trunk


def by_products(module: nn.Module, size: int) -> None:
    """Tensor parallel (Shoeybi 2019, arXiv 1909.08053): of each pair of products the first is cut by columns, the second by rows.

    A module says what of it is cut: `tensor_plan` (layer -> "columns" or "rows"), `tensor_parts` (what must divide by the processes),
    `tensor_sums` (weights of which each process sees a part of the gradient). Everything else is whole, and the same, in each process.
    Errors: ModelError where there is nothing to cut, or it does not divide.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    planned = [part for part in module.modules() if getattr(part, "tensor_plan", None)]
    _check(planned, size)
    ways: dict[str, Any] = {"columns": ColwiseParallel, "rows": RowwiseParallel}
    with _keeping_words(module):
        mesh = _mesh(module, size)
        for part in planned:
            plan: Any = part.tensor_plan
            found = {name: way for name, way in plan.items() if getattr(part, name) is not None}
            parallelize_module(part, mesh, {name: ways[way]() for name, way in found.items()})
            for name in getattr(part, "tensor_sums", ()):
                if getattr(part, name) is not None:
                    getattr(part, name).weight.register_hook(_summed)


def locals_of(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """What this process holds of divided tensors; a rule that moves number by number needs no more."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def whole_like(local: torch.Tensor, like: Any) -> torch.Tensor:
    """What the processes hold of a tensor that is divided as `like` is, put together in each; every process takes part."""
    if not hasattr(like, "full_tensor"):
        return local
    from torch.distributed.tensor import DTensor

    made = DTensor.from_local(local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())
    return made.full_tensor()


def part_like(whole: torch.Tensor, like: Any) -> torch.Tensor:
    """This process's part of a whole tensor, as it holds `like`."""
    if not hasattr(like, "full_tensor"):
        return whole
    start, size = region(like)
    return whole[tuple(slice(at, at + length) for at, length in zip(start, size, strict=True))]


def region(tensor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where this process's part begins in the whole tensor, and its shape."""
    if not hasattr(tensor, "full_tensor"):
        return (0,) * tensor.ndim, tuple(tensor.shape)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(start), tuple(size)


def joined(local: torch.Tensor, like: Any) -> torch.Tensor:
    """A part as a divided tensor again, divided as `like` is; a plain one stays plain."""
    if not hasattr(like, "full_tensor"):
        return local
    from torch.distributed.tensor import DTensor

    place = local.to(like.device)
    return DTensor.from_local(place, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())


def _summed(gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    dist.all_reduce(gradient)
    return gradient


def _mesh(module: nn.Module, size: int) -> Any:
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(next(module.parameters()).device.type, (size,))


def _trunk(module: nn.Module) -> nn.Module:
    """The innermost module that has all the weights: what only wraps it is not divided."""
    while True:
        own = any(True for _ in module.parameters(recurse=False))
        children = [child for child in module.children() if any(True for _ in child.parameters())]
        if own or len(children) != 1 or isinstance(children[0], nn.ModuleList):
            return module
        module = children[0]


def _check(planned: list[nn.Module], size: int) -> None:
    choose = "Write strategy: ddp or fsdp."
    if not planned:
        raise ModelError(f"train.strategy: found tensor with a model that has no decoder, allowed are ddp and fsdp. {choose}")
    for part in planned:
        parts: Mapping[str, int] = part.tensor_parts  # type: ignore[assignment]
        for word, number in parts.items():
            if number % size:
                raise ModelError(
                    f"train.devices: found {size} processes with strategy: tensor for architecture.{word}: {number}, allowed is a divisor "
                    f"of it. Change one, or write strategy: fsdp."
                )
        plan: Mapping[str, str] = part.tensor_plan  # type: ignore[assignment]
        for name in plan:
            layer = getattr(part, name)
            if layer is not None and not isinstance(layer, nn.Linear):
                raise ModelError(
                    f"train.strategy: found tensor with {type(layer).__name__} in place of layer {name}, allowed are plain layers "
                    f"(no adapter, no int8). {choose}"
                )


@contextmanager
def _keeping_words(module: nn.Module) -> Iterator[None]:
    """Weights are replaced inside; the new ones say what the old ones said."""
    said = {
        name: {word: getattr(weight, word) for word in _SAID if hasattr(weight, word)} for name, weight in module.named_parameters()
    }
    yield
    for name, weight in module.named_parameters():
        for word, value in said[name].items():
            setattr(weight, word, value)
