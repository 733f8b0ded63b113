"""The contract suite of benchmarks: `check_benchmark(make, place)` for each file in lode/pipeline/benchmarks, and for others.

Read `lode.pipeline.language.contracts.Benchmark` first: every check below is one of its sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lode.core.errors import DataError
from lode.data.place import Place
from lode.pipeline.language.contracts import Benchmark, Speaker


def check_benchmark(make: Callable[[Place], Benchmark], place: Place, model: Speaker) -> None:
    """Everything below. make: the benchmark over a file that lies in `place`. model: any one."""
    check_making_it_reads_nothing(make)
    check_answers(make(place), model)
    check_it_repeats(make, place, model)


def check_making_it_reads_nothing(make: Callable[[Place], Benchmark]) -> None:
    """A file that is not there is told when questions are asked, not when they are named."""
    benchmark = make(Place(Path("no such folder")))
    try:
        benchmark.fingerprint()
    except DataError:
        return
    raise AssertionError("a missing file has a fingerprint")


def check_answers(benchmark: Benchmark, model: Speaker) -> None:
    """One mark and one chance a question, and questions to look at."""
    found = benchmark.ask(model, 0)
    assert found.right.dtype == bool and found.right.shape == found.chance.shape and len(found.right) > 0
    assert np.isfinite(found.chance).all() and (found.chance >= 0).all() and (found.chance < 1).all()
    assert found.title and found.shown
    assert all({"question", "wanted", "said", "right"} <= set(item) for item in found.shown)


def check_it_repeats(make: Callable[[Place], Benchmark], place: Place, model: Speaker) -> None:
    """Same file, same model, same marks; the fingerprint is that of what is asked."""
    first, second = make(place), make(place)
    assert first.fingerprint() == second.fingerprint()
    assert np.array_equal(first.ask(model, 0).right, second.ask(model, 0).right)
