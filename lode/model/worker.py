"""One of several processes that fit a model: `python -m lode.model.worker FOLDER`, started by `lode/model/launch.py`.

It reads its parcel, fits, and the first one writes the model; a fault is written to `fault-<rank>.json`. It ends when its parent ends,
or when the parent puts a file `stop` into the folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lode.core import errors

if TYPE_CHECKING:
    from lode.model.contracts import Context, Family, Fitted
    from lode.model.parallel import Team
    from lode.model.parcel import Parcel

_LOOK_S, _ANSWER_S = 0.2, 0.02
_PATIENCE = timedelta(days=1)
"""The first process may prepare what the others wait for (a reference for every pair); one that is gone is noticed without a clock."""


def main(folder: Path) -> int:
    """Exit code: 0 done; 1 a fault, said in a file, or a batch that was cut because memory did not suffice: then all start again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide
    if (folder / "stop").exists() or list(folder.glob("fault-*.json")):
        return 1  # what failed once fails again: nobody should wait for torch to load
    threading.Thread(target=_end_with_parent, args=(folder, os.getppid()), daemon=True).start()
    sys.excepthook = partial(_tell, folder)
    try:
        return 0 if _work(folder) else 1
    except errors.LodeError as error:
        _write(folder, {"kind": type(error).__name__, "text": str(error)})
        return 1


def _tell(folder: Path, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nothing caught is told to the parent before this process ends with it."""
    if not _is_left_behind(error):
        _write(folder, _fault(error))
    sys.__excepthook__(kind, error, trace)


def _work(folder: Path) -> bool:
    """Whether the fit is done."""
    import torch.distributed as dist

    from lode.core.registry import REGISTRIES
    from lode.model.contracts import Context
    from lode.model.parcel import training_of, unpack

    parcel = unpack(folder)
    training = training_of(parcel.options)
    team = _joined(parcel.device.startswith("cuda"), training.strategy)
    tasks = {name: REGISTRIES["task"].create(component) for name, component in parcel.tasks.items()}
    for name, state in parcel.states.items():
        tasks[name].restore(state)
    family = REGISTRIES["family"].create(parcel.family, parcel.shapes, tasks)
    context = Context(
        seed=parcel.seed, folder=parcel.folder, rounds=parcel.rounds, device=parcel.device, training=training,
        progress=_Progress(folder / "progress.json") if team.is_first else _say_nothing,
        deadline_s=None if parcel.end_unix_s is None else max(0.0, parcel.end_unix_s - time.time()),
        log_folder=parcel.log_folder, unlabelled=parcel.unlabelled, team=team,
        watch=_Asks(folder) if parcel.watched and team.is_first else None,
    )  # fmt: skip
    fitted = fit_or_cut(family, parcel, context, folder)
    if fitted is None:
        return False
    if team.is_first:
        (folder / "model").mkdir(exist_ok=True)
        family.save(folder / "model")
        record = {"rounds": fitted.rounds, "history": list(fitted.history), "choices": dict(fitted.choices)}
        _replace(folder / "fitted.json", record)
    dist.barrier()
    dist.destroy_process_group()
    return True


def _joined(on_gpu: bool, strategy: str) -> Team:
    """Meet the other processes, as torchrun's agent has named them in the environment."""
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    from lode.model.parallel import Team

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # torchrun keeps one store for all attempts: without a part of its own, a restarted process finds the addresses of dead ones
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    attempt = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    kinds = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(kinds, store=attempt, rank=rank, world_size=size, timeout=_PATIENCE)
    return Team(rank, size, strategy)


def fit_or_cut(family: Family, parcel: Parcel, context: Context, folder: Path) -> Fitted | None:
    """The fit, or None where memory did not suffice: its batches have twice as many pieces when all start again.

    Errors: ModelError where a piece is one row already.
    """
    from lode.model import memory
    from lode.model.choices import Choices

    for cut in sorted(folder.glob("cut-*"))[-1:]:
        context.progress(cut.read_text(encoding="utf-8"), 0, 1, {})
    try:
        return family.fit(parcel.train, parcel.stop, context)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out(error):
            raise
    cut = folder / f"cut-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        cut.touch(exist_ok=False)  # several may be out of memory in one attempt, and the batch is cut once
    except FileExistsError:
        while not cut.stat().st_size:  # who ends first ends the others, and the one that cuts must not be ended before it has
            time.sleep(_ANSWER_S)
        return None
    processes, said = 1 if context.team is None else context.team.num_shares, "train (out of memory)"
    for path in (*parcel.folder.glob("*/choices.json"), *parcel.folder.glob("choices.json")):  # of pretraining, too
        made = Choices.cut(path.parent, processes)
        said = memory.cut_text(made.batch, made.accumulate)
    cut.write_text(said, encoding="utf-8")
    return None


def _is_left_behind(error: BaseException) -> bool:
    """Whether another process is gone, so that this one can only be started again with it."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _fault(error: BaseException) -> dict[str, str]:
    from lode.model import memory

    if memory.is_out(error):
        text = "training: out of memory in one of the processes, allowed is a batch that fits. Write train.accumulate: 2 (or more)."
        return {"kind": "ModelError", "text": text}
    return {"kind": "crash", "text": "".join(traceback.format_exception(error))}


class _Progress:
    """Leaves the newest word for the parent, a few times a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.said_s = path, 0.0

    def __call__(self, what: str, done: int, total: int, figures: dict[str, float]) -> None:
        now_s = time.monotonic()
        if now_s - self.said_s >= _LOOK_S or done >= total:
            self.said_s = now_s
            _replace(self.path, {"what": what, "done": done, "total": total, "figures": figures})


class _Asks:
    """Asks the parent after each epoch whether the fit ends (`Context.watch`), and waits for the answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, epoch: int, loss: float) -> bool:
        _replace(self.folder / "asked.json", {"epoch": epoch, "loss": loss})
        path = self.folder / "answer.json"
        while True:
            answer = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if answer.get("epoch") == epoch:
                return bool(answer["ends"])
            time.sleep(_ANSWER_S)


def _say_nothing(what: str, done: int, total: int, figures: dict[str, float]) -> None:
    """The first process speaks for all."""


def _end_with_parent(folder: Path, parent: int) -> None:
    """Ends this process, wherever it waits, when the parent is gone or says so."""
    while os.getppid() == parent and not (folder / "stop").exists():
        time.sleep(_LOOK_S)
    os._exit(1)


def _write(folder: Path, record: dict[str, str]) -> None:
    _replace(folder / f"fault-{os.environ.get('RANK', '0')}.json", record)


def _replace(path: Path, record: Any) -> None:
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(record), encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
