"""Fits a family in several processes (`train.devices`) under torchrun's agent, or in this one where one is enough.

The parcel goes to a folder; `lode/model/worker.py` fits; this process shows the progress and loads the model. A process that is killed
is started again with the others, and all go on from the last checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lode.core import errors
from lode.core.disk import write_whole
from lode.core.errors import ModelError
from lode.core.types import Component
from lode.model import parcel
from lode.model.contracts import Context, Examples, Family, Fitted, Shapes, Task

MAX_RESTARTS = 3
"""So often the processes of one fit are started again when one of them was killed."""
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Made:
    """What a family was made from, so that another process can make it again: words of the file, and fitted tasks."""

    family: Component
    shapes: Shapes
    tasks: Mapping[str, tuple[Component, Task]]


def num_processes(training: Any, device: str) -> int:
    """`train.devices` as a number: auto is every GPU. Errors: ModelError for more processes than GPUs."""
    import torch

    on_gpu = device.startswith("cuda")
    if training.devices == "auto":
        return max(1, torch.cuda.device_count()) if on_gpu else 1
    found = torch.cuda.device_count()
    if on_gpu and training.devices > found:
        raise ModelError(f"train.devices: found {training.devices}, but torch sees {found} GPU(s) here. Write {found}, or auto.")
    return int(training.devices)


def fit(family: Family, made: Made, train: Examples, stop: Examples | None, context: Context) -> Fitted:
    """`family.fit`, in as many processes as `train.devices` says; the family is fitted afterwards in both cases.

    Errors: those of `Family.fit`; ModelError where the processes were killed again and again, or an option does not go with them.
    """
    if not family.loop or context.training is None:
        return family.fit(train, stop, context)
    if context.training.pretrain is not None and family.needs == "tokens":
        raise ModelError(
            f"train.pretrain: found {context.training.pretrain.type} with model: {made.family.type}, which learns from all its text in any "
            "case, allowed is none. Remove it."
        )
    if context.training.devices == 1:
        return _alone(family, train, stop, context)
    device = context.device if context.training.device == "auto" else context.training.device
    training = replace(context.training, devices=num_processes(context.training, device))
    if training.devices == 1:
        return _alone(family, train, stop, replace(context, training=training))
    if family.needs == "flat":
        raise ModelError(
            f"train.devices: found {training.devices} processes with model: {made.family.type}, which is fitted in one, allowed is 1. "
            "Remove it."
        )
    _check(training, family.needs, train.num_rows)
    with _folder(context.folder) as folder:
        own = replace(context, training=training, device=device, folder=(context.folder or folder / "checkpoint").resolve())
        parcel.pack(_parcel(made, train, stop, own), folder)
        _run(folder, training.devices, context)
        family.load(folder / "model")
        record = json.loads((folder / "fitted.json").read_text(encoding="utf-8"))
    choices = {**record["choices"], "devices": training.devices, "strategy": training.strategy}
    return Fitted(record["rounds"], tuple(record["history"]), choices)


def _alone(family: Family, train: Examples, stop: Examples | None, context: Context) -> Fitted:
    """Fitted in this process. Errors: ModelError also where memory does not suffice for the model itself: the loop cuts only batches."""
    from lode.model import memory

    try:
        return family.fit(train, stop, context)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out(error):
            raise
        found = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"training: out of memory outside of a step ({found}), allowed is a model that fits with its optimizer. Choose a smaller one "
            "(width, depth), or use a machine with more memory; `lode plan` says how much it takes."
        ) from error


def _parcel(made: Made, train: Examples, stop: Examples | None, context: Context) -> parcel.Parcel:
    assert context.folder is not None, "a fit in several processes has a folder"
    return parcel.Parcel(
        family=made.family,
        shapes=made.shapes,
        tasks={name: component for name, (component, _) in made.tasks.items()},
        states={name: task.state() for name, (_, task) in made.tasks.items()},
        train=train,
        stop=stop,
        unlabelled=context.unlabelled,
        options=parcel.training_options(context.training),
        seed=context.seed,
        rounds=context.rounds,
        device=context.device,
        end_unix_s=None if context.deadline_s is None else time.time() + context.deadline_s,
        watched=context.watch is not None,
        folder=context.folder,
        log_folder=None if context.log_folder is None else context.log_folder.resolve(),
        parent=os.getpid(),
    )


def _check(training: Any, needs: str, num_rows: int) -> None:
    """Errors: ModelError for options that do not go with several processes."""
    # Rows of a text are not its documents: how many there are is known when they are packed
    most = training.devices if needs == "tokens" else num_rows
    batch = most if not isinstance(training.batch, int) else training.batch if needs == "tokens" else min(most, training.batch)
    if batch < training.devices and training.strategy != "tensor":
        raise ModelError(
            f"train.devices: found {training.devices} processes for batches of {batch} rows, allowed is one row each. Write fewer."
        )
    if training.strategy == "tensor" and needs != "tokens":
        raise ModelError(
            "train.strategy: found tensor with a model that is no language model, allowed are ddp and fsdp. Write one of them."
        )
    if training.strategy == "ddp":
        return
    wrong = {"ema": training.ema is not None, "precision": training.precision == "fp16"}
    for word in (word for word, found in wrong.items() if found):
        raise ModelError(
            f"train.{word}: found {getattr(training, word)} beside strategy: {training.strategy}, which divides the weights. "
            "Write strategy: ddp, or choose another."
        )


@contextmanager
def _folder(place: Path | None) -> Iterator[Path]:
    """A folder for the parcel that is gone afterwards."""
    if place is None:
        with tempfile.TemporaryDirectory(prefix="lode-") as made:
            yield Path(made)
        return
    folder = place.resolve() / "workers"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, devices: int, context: Context) -> None:
    """Start the agent in a thread, pass the progress on, and turn faults into errors."""
    failed: list[BaseException] = []
    agent = threading.Thread(target=_agent, args=(folder, devices, failed), daemon=True, name="torchrun")
    with _quiet():
        agent.start()
        try:
            said = asked = ""
            while agent.is_alive():
                agent.join(_LOOK_S)
                said = _pass_on(folder / "progress.json", said, context)
                asked = _answer(folder, asked, context)
        finally:
            if agent.is_alive():
                (folder / "stop").touch()  # Ctrl-C, or the progress bar raised: the workers see it and end
                agent.join()
    if failed:
        raise _error(folder, failed[0])


def _agent(folder: Path, devices: int, failed: list[BaseException]) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=devices, run_id=folder.name, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1", max_restarts=MAX_RESTARTS, monitor_interval=_LOOK_S,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs"), redirects=Std.ALL),
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "lode.model.worker", str(folder))
    except (ChildFailedError, RuntimeError, OSError) as error:
        failed.append(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """The log of torchrun says nothing on the user's terminal: faults are told as errors. What it sets in the environment goes again."""
    log, before = logging.getLogger("torch.distributed.elastic"), os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE")
    handler, propagate = logging.NullHandler(), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
        if before is None:
            os.environ.pop("TORCHELASTIC_SIGNALS_TO_HANDLE", None)


def _pass_on(path: Path, said: str, context: Context) -> str:
    """Give the bar the first worker's newest word, once."""
    if not path.exists():
        return said
    text = path.read_text(encoding="utf-8")
    if text != said:
        record = json.loads(text)
        context.progress(record["what"], record["done"], record["total"], record["figures"])
    return text


def _answer(folder: Path, asked: str, context: Context) -> str:
    """Say whether the fit ends after the epoch that the first worker asks about, once."""
    path = folder / "asked.json"
    if context.watch is None or not path.exists():
        return asked
    text = path.read_text(encoding="utf-8")
    if text != asked:
        record = json.loads(text)
        answer = {"epoch": record["epoch"], "ends": context.watch(record["epoch"], record["loss"])}
        write_whole(folder / "answer.json", [json.dumps(answer).encode()])
    return text


def _error(folder: Path, failed: BaseException) -> Exception:
    """The clearest word of what went wrong: a worker's own error, then its traceback, then that it was killed."""
    faults = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("fault-*.json"))]
    for fault in faults:
        made = getattr(errors, fault["kind"], None)
        if made is not None:
            error: Exception = made(fault["text"])
            return error
    if faults:
        return RuntimeError(f"a training process failed:\n{faults[0]['text']}")
    return ModelError(
        f"train.devices: the training processes were killed {MAX_RESTARTS + 1} times ({_last_words(failed)}), perhaps for lack of memory. "
        "The last checkpoint is kept: the same command goes on there. Write a smaller batch or fewer devices."
    )


def _last_words(failed: BaseException) -> str:
    codes = sorted({str(failure.exitcode) for failure in getattr(failed, "failures", {}).values()})
    return f"exit code {', '.join(codes)}" if codes else str(failed)
