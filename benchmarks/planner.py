"""`lode plan` against what happens: parameters, operations, peak memory and step time of twelve configurations.

    python benchmarks/planner.py [--quick] [--only NAME,...]

Each configuration is a process of its own with one thread, on random rows or tokens: figures of this kind do not depend on what is learned.
Forecast: `lode.model.planning.survey` of the job as the training loop gets it (formulas for decoders, a watched small step for others), and
the median of a trial of 20 steps. Actual: parameters of the module; operations by torch's FlopCounterMode over one step, forward and back,
with attention written out, because its kernel for processors has no count in torch. Memory is the most anonymous memory of the process
during a fit (polled every millisecond) less what it held before, after a fit of a tiny model of the same kind had loaded every library:
the median of five fresh processes, because the heaps of two processes differ by up to 10 % after the same steps. Seconds of a step are the
time between the forward passes of a fit. Trials and fits take turns, five of each, now the one first and now the other, because the machine
drifts: each trial is held against the fit beside it, and the median of the five errors counts. (Medians of all trials and all fits, which
lie minutes apart, differed by 30 % on a machine with neighbours where the processor's own time differed by 1 %.) Trees have no steps: a
boosting round stands for one, and their operations are held against those that the fitted model counts itself.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AIMS = {"parameters": 0.0, "flops": 0.005, "memory": 0.10, "step": 0.15}
TURNS, STEPS, MEMORY_STEPS = 5, 20, 6


def decoder(
    word: str, vocabulary: int, packing: str = "stream", train: dict[str, Any] | None = None, **sizes: Any
) -> dict[str, Any]:
    """A language model on random tokens."""
    tiny = {**sizes, "layers": 1, "heads": 2, "width": 16, "context": 16, "groups": 2, "hidden": 32, "head_width": 8}
    known = {"gpt2": ("layers", "heads", "width", "context")}.get(word)
    tiny = {name: size for name, size in tiny.items() if name in sizes or known is None or name in known}
    return {"kind": "language", "architecture": word, "vocabulary": vocabulary, "sizes": sizes, "tiny": tiny, "packing": packing,
            "train": {"precision": "fp32", "optimizer": "adamw", **(train or {})}}  # fmt: skip


WIDE = {"layers": 4, "heads": 4, "width": 256, "context": 128}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2 128 characters": decoder("gpt2", 65, layers=4, heads=4, width=128, context=64, train={"batch": 64}),
    "gpt2 256": decoder("gpt2", 4096, **WIDE, train={"batch": 8}),
    "llama 256 bf16": decoder("llama", 8192, **WIDE, groups=2, train={"batch": 16, "precision": "bf16"}),
    "llama 256 packed": decoder("llama", 8192, "documents", **WIDE, train={"batch": 8}),
    "llama 256 muon": decoder("llama", 2048, **WIDE, train={"batch": 8, "optimizer": "muon"}),
    "llama 256 recomputed": decoder(
        "llama", 1024, layers=6, heads=4, width=256, context=256, train={"batch": 8, "checkpoint_activations": True}
    ),
    "qwen3 192 large vocabulary": decoder(
        "qwen3", 32768, layers=3, heads=3, groups=1, width=192, head_width=64, context=256, train={"batch": 2}
    ),
    "gemma3 256 windows": decoder("gemma3", 4096, layers=4, heads=4, groups=1, width=256, head_width=64, context=256, window=64,
                                  train={"batch": 4}),
    "mixtral 192 experts": decoder("mixtral", 2048, layers=3, heads=3, groups=1, width=192, hidden=384, context=256, train={"batch": 4}),
    "cnn pictures": {"kind": "pictures", "train": {"batch": 64, "precision": "fp32"}},
    "mlp table": {"kind": "table", "train": {"batch": 1024, "precision": "fp32"}},
    "trees": {"kind": "trees", "train": {}},
}  # fmt: skip
QUICK = ("gpt2 256", "cnn pictures", "trees")


def main() -> int:
    """Measure, print a table and one line of JSON; 1 where an aim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three configurations, three turns")
    parser.add_argument("--only", help="some configurations, by name")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    turns = 3 if options.quick else TURNS
    if options.child:
        print(json.dumps(child(CONFIGS[options.child], 0 if options.memory else turns)))
        return 0
    names = options.only.split(",") if options.only else QUICK if options.quick else tuple(CONFIGS)
    print(
        f"{'':28}{'parameters':>12}{'':>4}{'FLOPs/step':>12}{'error':>9}{'memory MiB':>12}{'error':>8}{'step ms':>10}{'error':>8}"
    )
    lines = []
    for name in names:
        # How much a process holds does not depend on who runs beside it; how long a step takes does
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            peaks = list(pool.map(lambda _, name=name: answer(name, "--memory"), range(turns)))
        found = answer(name, *(["--quick"] if options.quick else []))
        found["memory"] = [found["memory"], statistics.median(peaks)]
        lines.append({"name": name, **found})
        print(row(lines[-1]), flush=True)
    records = [record(figure, lines) for figure in AIMS]
    print(json.dumps(records))
    return 0 if all(line["holds"] for line in records) else 1


def answer(name: str, *options: str) -> Any:
    """What a process of its own says of a configuration."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--child", name, *options]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"{name}: {made.stderr}")
    return json.loads(made.stdout.splitlines()[-1])


def row(found: dict[str, Any]) -> str:
    """A configuration's line: actual figures, and how far the forecast lies from each."""
    memory, step, flops = found["memory"], found["step"], found["flops"]
    same = "=" if found["parameters"][0] == found["parameters"][1] else "!"
    return (
        f"{found['name']:28}{found['parameters'][1]:>12,}{same:>4}{flops[1]:>12.4g}{error(flops):>+9.2%}"
        f"{memory[1] / 2**20:>12.1f}{error(memory):>+8.1%}{step[1] * 1e3:>10.2f}{error(step):>+8.1%}"
    )


def error(pair: list[float]) -> float:
    """How far the forecast lies from the actual figure."""
    return pair[0] / pair[1] - 1.0


def record(figure: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest error of a figure over the configurations."""
    errors = sorted(abs(error(line[figure])) for line in lines)
    aim = AIMS[figure]
    return {
        "name": f"planner {figure}", "ours": round(statistics.median(errors), 4), "peer": aim, "peer_name": "aim of the largest error",
        "unit": "share", "ratio": round(min(99.0, aim / errors[-1]), 2) if errors[-1] else 99.0,
        "spread": [round(errors[0], 4), round(errors[-1], 4)], "aim": aim, "holds": errors[-1] <= aim,
    }  # fmt: skip


def child(config: dict[str, Any], turns: int) -> Any:
    """Forecast and actual of one configuration, as pairs, and the memory forecast; without turns the memory that a fit takes."""
    sys.path.insert(0, str(ROOT))
    return trees(turns) if config["kind"] == "trees" else network(config, turns)


def network(config: dict[str, Any], turns: int) -> Any:
    """A family that the training loop fits."""
    from lode.model.contracts import Context, Fitted
    from lode.model.planning.survey import survey
    from lode.model.training import Training

    make: Callable[[bool, int], Any] = {"language": language, "pictures": pictures, "table": table}[config["kind"]]
    own = {**config["train"], "threads": 1, "compile": False}

    def fit(steps: int, look: Callable[..., Any] | None = None, tiny: bool = False) -> None:
        family, rows = make(config, tiny, steps) if config["kind"] == "language" else make(tiny, steps * own["batch"])
        training = Training(**{**own, **({"batch": 2} if tiny else {}), **(
            {"steps": steps, "judge_steps": steps} if config["kind"] == "language" else {"epochs": 1})})  # fmt: skip
        family.fit(rows, None, Context(training=training, survey=look))

    found: dict[str, Any] = {}

    def look(job: Any, choices: Any, training: Any, try_steps: Any) -> Fitted:
        said = survey(job, choices, training)
        counted = sum(item.numel() for item in job.module.parameters())
        found.update(parameters=[said.parameters, counted], flops=[said.flops, float(counted_flops(job, choices))])
        found["memory"] = said.memory.peak_bytes
        return Fitted()

    def trial() -> None:
        fit(STEPS, lambda job, choices, training, try_steps: trials.append(statistics.median(try_steps(STEPS)[1:])) or Fitted())

    fit(2, tiny=True)
    if not turns:
        with peak_memory() as peak:
            fit(MEMORY_STEPS)
        return peak[0]
    fit(STEPS, look)
    trials: list[float] = []
    runs: list[float] = []
    for turn in range(turns):
        for one in (trial, lambda: runs.append(run_seconds(fit)))[:: 1 if turn % 2 else -1]:
            one()
    found["step"] = paired(trials, runs)
    return found


def paired(trials: list[float], runs: list[float]) -> list[float]:
    """Seconds of a step as the trials forecast it and as it was: the median run, and the median of each trial's error over its own run."""
    actual = statistics.median(runs)
    return [actual * statistics.median(trial / run for trial, run in zip(trials, runs, strict=True)), actual]


def run_seconds(fit: Callable[..., None]) -> float:
    """Median seconds from one forward pass of a fit to the next."""
    times: list[float] = []

    def hook(job: Any, choices: Any, training: Any, try_steps: Any) -> None:
        job.module.register_forward_pre_hook(lambda *_: times.append(time.perf_counter()))

    fit(STEPS, hook)
    return statistics.median(later - sooner for sooner, later in itertools.pairwise(times[1:]))


def counted_flops(job: Any, choices: Any) -> int:
    """One step's operations as torch counts them."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    job.module.train()
    batch = next(job.train.pieces(job.train.trainable[: choices.batch], choices.batch, 1))[0]
    own = {
        torch.ops.mkldnn._linear_pointwise: lambda x, weight, *_, out_shape, **__: 2 * math.prod(x) * weight[0],
        torch.ops.aten.addmm_: lambda total, a, b, *_, out_shape, **__: 2 * a[0] * a[1] * b[1],
        torch.ops.aten._grouped_mm: lambda x, weight, *_, out_shape, **__: 2 * math.prod(x) * weight[-1],
    }  # torch counts none of them
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=own) as counter:
        job.objectives[0].loss(batch).backward()
    for parameter in job.module.parameters():
        parameter.grad = None
    return counter.get_total_flops()


def language(config: dict[str, Any], tiny: bool, steps: int) -> Any:
    """A decoder and enough random tokens."""
    import numpy as np

    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec, TensorSpec
    from lode.model.contracts import Examples, Shapes

    sizes = config["tiny"] if tiny else config["sizes"]
    context, vocabulary = sizes["context"], config["vocabulary"]
    batch = 2 if tiny else config["train"]["batch"]
    random = np.random.default_rng(0)
    count = (steps + 2) * batch * context + 1
    documents = np.unique(np.r_[0, random.integers(1, count, 1 + count // max(8, context // 3)), count])
    arrays = {"tokens": random.integers(0, vocabulary, count).astype(np.uint16), "documents": documents.astype(np.int64)}
    architecture = Component(config["architecture"], sizes)
    component = Component("language", {"architecture": architecture, "packing": config["packing"]})
    shapes = Shapes({"tokens": TensorSpec("int32", (1,), cardinality=vocabulary)}, FlatSpec((), ()))
    return REGISTRIES["family"].create(component, shapes, {}), Examples(len(documents) - 1, arrays, None)


def pictures(tiny: bool, rows: int) -> Any:
    """The convolutional network of `image` on random pictures of ten classes."""
    import numpy as np

    from lode.core.types import TensorSpec

    side = 8 if tiny else 48
    random = np.random.default_rng(0)
    spec = TensorSpec("uint8", (side, side, 3), scale=(255.0, 255.0, 255.0), offset=(0.0, 0.0, 0.0))
    arrays = {"x": random.integers(0, 256, (max(rows, 64), side, side, 3), np.uint8)}
    return classifier({"x": spec}, arrays)


def table(tiny: bool, rows: int) -> Any:
    """A network on forty numbers and eight categories."""
    import numpy as np

    from lode.core.types import TensorSpec

    random, rows = np.random.default_rng(0), max(rows, 64)
    specs = {f"n{number}": TensorSpec("float32", ()) for number in range(4 if tiny else 40)}
    specs |= {f"c{number}": TensorSpec("int32", (), cardinality=50) for number in range(2 if tiny else 8)}
    arrays: dict[str, Any] = {
        name: random.normal(size=rows).astype(np.float32) if spec.cardinality is None else random.integers(0, 50, rows, np.int32)
        for name, spec in specs.items()
    }
    return classifier(specs, arrays, {"width": 32 if tiny else 1024, "depth": 1 if tiny else 4})


def classifier(specs: dict[str, Any], arrays: dict[str, Any], options: dict[str, Any] | None = None) -> Any:
    """The family `network` with one output of ten classes."""
    import numpy as np

    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec
    from lode.model.contracts import Examples, Shapes

    rows = len(next(iter(arrays.values())))
    labels = np.array([str(number % 10) for number in range(rows)], dtype=object)
    task = REGISTRIES["task"].create(Component("multiclass"))
    task.fit(labels)
    shapes = Shapes(specs, FlatSpec((), ()))
    family = REGISTRIES["family"].create(Component("network", options or {}), shapes, {"y": task})
    return family, Examples(rows, arrays, None, {"y": task.encode(labels)})


def trees(turns: int) -> Any:
    """Gradient-boosted trees of a fixed number of rounds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # LightGBM takes as many threads as there are processors
    import numpy as np

    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec
    from lode.model.contracts import Context, Examples, Shapes

    rounds, rows, columns = 40, 100_000, 30
    random = np.random.default_rng(0)
    flat = random.normal(size=(rows, columns)).astype(np.float32)
    labels = np.where(flat[:, :8].sum(axis=1) + random.normal(size=rows) > 0, "yes", "no").astype(object)
    task = REGISTRIES["task"].create(Component("binary", {"positive": "yes"}))
    task.fit(labels)
    shapes = Shapes({}, FlatSpec(tuple(f"n{number}" for number in range(columns)), (0,) * columns))
    whole = Examples(rows, {}, flat, {"y": task.encode(labels)})
    few = whole.take(np.arange(1000))

    def fit(count: int, examples: Examples = whole) -> tuple[Any, float]:
        family = REGISTRIES["family"].create(Component("trees", {"rounds": count}), shapes, {"y": task})
        start_s = time.perf_counter()
        family.fit(examples, None, Context(rounds=count))
        return family, time.perf_counter() - start_s

    fit(2, few)
    with peak_memory() as peak:
        family = fit(rounds)[0]
    if not turns:
        return peak[0]
    outlook, cost = family.outlook(rows), family.cost()
    trials, runs = [], []
    for _ in range(turns):
        # What is done once, before the first round, is in both and taken off.
        once = fit(1)[1]
        trials.append((fit(STEPS)[1] - once) / (STEPS - 1))
        runs.append((fit(rounds)[1] - once) / (rounds - 1))
    return {
        "parameters": [outlook.parameters, cost.parameters], "flops": [float(outlook.flops_per_row), float(cost.flops_per_row)],
        "memory": outlook.memory_bytes, "step": paired(trials, runs),
    }  # fmt: skip


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Most anonymous memory inside, less that before, bytes; a list of one."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    before, stop = anonymous(), threading.Event()
    peak = [0]

    def watch() -> None:
        while not stop.wait(0.001):
            peak[0] = max(peak[0], anonymous() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def anonymous() -> int:
    """Anonymous memory of this process, bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:"))


if __name__ == "__main__":
    sys.exit(main())
