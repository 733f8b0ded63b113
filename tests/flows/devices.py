"""What the tests of several processes share: rows, a network without chance in its steps, and the workers that run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model import launch
from lode.model.contracts import Context, Examples, Family, Fitted, Shapes, Task
from lode.model.training import Training

WORDS = {"risk": Component("binary", {"positive": "yes"}), "price": Component("number")}


def rows(num_rows: int, seed: int = 0) -> Examples:
    """Two inputs; each output lacks some targets, and some rows lack both."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(num_rows, 4)).astype(np.float32)
    code = random.integers(0, 5, num_rows).astype(np.int32)
    risk = (x[:, 0] + (code == 2) > 0.2).astype(np.int64)
    price = (x[:, 1] - x[:, 2]).astype(np.float32)
    risk[::7] = -1
    price[::3] = np.nan
    return Examples(num_rows, {"x": x, "code": code}, None, {"risk": risk, "price": price})


def tasks() -> dict[str, Task]:
    made: dict[str, Task] = {name: REGISTRIES["task"].create(component) for name, component in WORDS.items()}
    made["risk"].fit(np.array(["no", "yes"] * 4, object))
    made["price"].fit(np.linspace(-1, 1, 20))
    return made


def made(**options: object) -> tuple[Family, launch.Made]:
    """A network that forgets nothing and drops nothing, so that processes and one process take the same steps."""
    component = Component("network", {"width": 16, "dropout": 0.0, **options})
    specs = {"x": TensorSpec("float32", (4,)), "code": TensorSpec("int32", (), cardinality=5)}
    shapes = Shapes(specs, FlatSpec((), ()), {"code": Component("embedding", {"unknown": 0.0})})
    own = tasks()
    family: Family = REGISTRIES["family"].create(component, shapes, own)
    return family, launch.Made(component, shapes, {name: (WORDS[name], own[name]) for name in WORDS})


def fit(training: Training, context: Context | None = None, **options: object) -> tuple[Family, Fitted]:
    """Fitted on 203 rows, stopped by 61."""
    family, how = made(**options)
    return family, launch.fit(family, how, rows(203), rows(61, 1), replace(context or Context(), training=training))


def workers(parent: int) -> dict[int, int]:
    """Rank -> process id of the workers that were started by a process."""
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            started_by = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            values = dict(part.split(b"=", 1) for part in (place / "environ").read_bytes().split(b"\0") if b"=" in part)
        except OSError:
            continue
        if b"lode.model.worker" in words and started_by == parent and b"RANK" in values:
            found[int(values[b"RANK"])] = int(place.name)
    return found


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0].startswith("Z")
