"""What a fit changes in torch itself while it runs, and gives back: threads, generators, repeatable kernels, a compiled module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from lode.core.errors import ModelError
from lode.model.choices import Choices

_UNREPEATABLE = " does not have a deterministic implementation"
_LARGE_BYTES = 256 << 20


@contextmanager
def running(module: torch.nn.Module, choices: Choices) -> Iterator[None]:
    """So many threads, and the module compiled where that was chosen. Errors: ModelError where this machine cannot compile it."""
    before = torch.get_num_threads()
    torch.set_num_threads(choices.threads)
    if choices.compile:
        module.compile()
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise ModelError(
            f"train.compile: found true, but the model cannot be compiled here ({str(error).splitlines()[0]}), allowed are auto and false. "
            "Install a C++ compiler (g++), or remove the option."
        ) from error
    finally:
        torch.set_num_threads(before)
        if choices.compile:
            module._compiled_call_impl = None  # what `compile` sets; torch has no public way back


@contextmanager
def own_randomness(device: str, strict: bool) -> Iterator[None]:
    """Leaves torch's own generators as they were, whatever dropout draws. A GPU takes its repeatable kernels where it has them.

    strict: an operation without a repeatable kernel is an error (`train.deterministic`), on the processor too. Errors: that ModelError.
    """
    on_gpu = device.startswith("cuda")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if on_gpu and strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat, and torch refuses
    if on_gpu or strict:
        torch.use_deterministic_algorithms(True, warn_only=not strict)
    try:
        with torch.random.fork_rng(devices=[torch.device(device)] if on_gpu else []):
            yield
    except RuntimeError as error:
        if not (strict and _UNREPEATABLE in str(error)):
            raise
        raise ModelError(
            f"train.deterministic: found an operation that does not repeat on this device ({str(error).split(_UNREPEATABLE)[0]}), allowed "
            "is a model without it. Remove the option, choose another part of the model, or train on a processor."
        ) from error
    finally:
        if on_gpu or strict:  # its first call loads torch's compiler, which takes over a second
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def autocast(choices: Choices) -> Callable[[], AbstractContextManager[Any]]:
    """Makes the context of a forward pass in the chosen precision."""
    if choices.precision == "fp32":
        return nullcontext
    kind, dtype = torch.device(choices.device).type, {"bf16": torch.bfloat16, "fp16": torch.float16}[choices.precision]
    return lambda: torch.autocast(kind, dtype)


def copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A copy that later steps do not change; large ones go to the host, because a GPU needs its memory for the steps."""
    large = sum(tensor.nbytes for tensor in tensors.values()) > _LARGE_BYTES
    return {name: tensor.detach().to("cpu", copy=True) if large else tensor.detach().clone() for name, tensor in tensors.items()}


def seed_all(seed: int, generator: torch.Generator) -> None:
    """Seed torch's own generators and this one."""
    torch.default_generator.manual_seed(seed)
    if generator.device.type == "cuda":
        torch.cuda.manual_seed(seed)
    generator.manual_seed(seed)
