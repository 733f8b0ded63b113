"""Which candidates a `model:` section means: the families that are fitted, under which names, and which of them may be packaged.

The lists are data: what has done well on tables of different sizes, the most promising first, because a budget may end at any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lode.core.errors import ModelError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.contracts import Family, Task
from lode.model.pooling import can_pool
from lode.pipeline.choose import Auto, Ensembling

BASELINES = ("constant", "linear", "trees")
"""Always trained beside the model (promise 5)."""

ENSEMBLE = "ensemble"
"""The name under which candidates together are judged."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that is fitted and judged. name: its family's word, with something added where there are several of one family."""

    name: str
    component: Component


@dataclass(frozen=True, slots=True)
class Slate:
    """What is fitted. allowed: names that may be packaged. method: of the ensemble, or None. members: names that may be part of it.

    pinned: candidate -> folds that it is fitted on.
    refit: whether the model that is packaged may be fitted once more on all rows.
    models: of an ensemble, how many models of each network are fitted on all rows instead of the folds' models; 0 for none.
    """

    candidates: tuple[Candidate, ...]
    allowed: tuple[str, ...]
    method: str | None = None
    members: tuple[str, ...] = ()
    best: bool = False
    pinned: dict[str, int] | None = None
    refit: bool = True
    models: int = 0

    @property
    def named(self) -> tuple[str, ...]:
        """Candidates that the file names to be packaged, alone or as members; none where they are to be chosen among."""
        if self.allowed == (ENSEMBLE,):
            return self.members
        return self.allowed if len(self.allowed) == 1 else ()


_PLAIN = (Candidate("network", Component("network")),)
"""Tried beside the baselines where there is no budget, and for anything but tables."""

_RANDOM = {"random_splits": True, "row_share": 0.9, "column_share": 0.8, "penalty": 2.0}
_WHOLE = {"leaves": 31, "min_rows": 7, "row_share": 1.0, "column_share": 0.5, "penalty": 0.0}
_LARGE = {"leaves": 63, "min_rows": 17, "row_share": 1.0, "column_share": 0.55, "penalty": 0.0}
_RANDOM_LARGE = {"random_splits": True, "leaves": 128, "min_rows": 3, "row_share": 1.0, "column_share": 0.9, "penalty": 1.0}
_SHALLOW = {"leaves": 4, "learning_rate": 0.1, "min_rows": 20, "column_share": 0.5, "penalty": 1.0}
_SLOW = {"leaves": 31, "learning_rate": 0.03, "row_share": 1.0, "column_share": 0.4, "patience": 100}

_TABLE = (
    (0, Candidate("trees-random", Component("trees", _RANDOM))),
    (0, Candidate("trees-whole", Component("trees", _WHOLE))),
    (5_000, Candidate("trees-large", Component("trees", _LARGE))),
    (0, Candidate("realmlp", Component("realmlp"))),
    (0, Candidate("tabm", Component("tabm"))),
    (0, Candidate("trees-random-large", Component("trees", _RANDOM_LARGE))),
    (0, Candidate("trees-shallow", Component("trees", _SHALLOW))),
    (0, Candidate("trees-slow", Component("trees", _SLOW))),
)
"""Tables within a budget: (from so many development rows, candidate), the most promising first."""

_CROSSED_ROWS = 100_000
"""Development rows up to which a budget is spent on folds of a table; beyond, one part of the rows judges."""
_MORE_FOLDS_ROWS, _MORE_FOLDS, _FOLDS = 3_000, 8, 5


def folds_for(model: Component, is_table: bool, num_rows: int, has_budget: bool, by_time: bool) -> int | None:
    """Folds by which candidates are judged; None leaves it to `lode.pipeline.folds`."""
    if model.type == ENSEMBLE:
        return Ensembling(**model.options).folds
    if model.type != "auto" or not has_budget or not is_table or by_time or num_rows > _CROSSED_ROWS:
        return None
    # Models of few rows gain most by every row more that they are fitted on.
    return _MORE_FOLDS if num_rows < _MORE_FOLDS_ROWS else _FOLDS


def slate(
    model: Component, tasks: Sequence[Task] = (), is_table: bool = False, num_rows: int = 0, has_budget: bool = False
) -> Slate:
    """What is fitted, cheapest kind first. tasks: of all outputs; families that cannot learn one of them are left out.

    Errors: ModelError where a named family cannot.
    """
    baselines = tuple(Candidate(word, Component(word)) for word in _baselines(tasks) if not _unfit(word, tasks))
    if model.type == "auto":
        return _auto(Auto(**model.options), baselines, tasks, is_table, num_rows, has_budget)
    if model.type == ENSEMBLE:
        return _ensemble(Ensembling(**model.options), baselines, tasks)
    _check(model, tasks)
    own = Candidate(model.type, model)
    return Slate((*(part for part in baselines if part.name != model.type), own), (model.type,))


def alone(whole: Slate, chosen: str, names: Sequence[str]) -> Slate:
    """Of these candidates only the chosen one, which of an ensemble means those of these names, and nothing beside it."""
    if chosen != ENSEMBLE:
        return replace(whole, candidates=_picked(whole, (chosen,)), allowed=(chosen,), method=None, members=(), pinned=None)
    return replace(whole, candidates=_picked(whole, names), allowed=(ENSEMBLE,), members=tuple(names), pinned=None)


def _picked(whole: Slate, names: Sequence[str]) -> tuple[Candidate, ...]:
    return tuple(part for part in whole.candidates if part.name in names)


def _auto(
    auto: Auto, baselines: tuple[Candidate, ...], tasks: Sequence[Task], is_table: bool, num_rows: int, has_budget: bool
) -> Slate:
    own = [word for task in tasks for word in task.networks]
    if auto.candidates is not None:
        chosen = named(auto.candidates)
        for part in chosen:
            _check(part.component, tasks)
    elif own:
        chosen = [*baselines, *(Candidate(word, Component(word)) for word in dict.fromkeys(own))]
    elif is_table and (has_budget or auto.rounds):
        chosen = [*baselines, *(part for rows, part in _TABLE if num_rows >= rows)]
    else:
        chosen = [*baselines, *_PLAIN]
    chosen = [part for part in chosen if not _unfit(part.component.type, tasks)]
    # A baseline that is listed with options of its own takes the place of the plain one.
    names = {part.name for part in chosen}
    everything = (*(part for part in baselines if part.name not in names), *chosen)
    unknown = sorted(set(auto.rounds or ()) - {part.name for part in everything})
    if unknown:
        raise ModelError(
            f"model.rounds: found {listed(unknown)}, allowed is {listed(part.name for part in everything)}. Name these, "
            "as `fitted` of the earlier run does."
        )
    order = sorted(everything, key=lambda part: _place(part, baselines))
    members = tuple(part.name for part in order if part.name in names and part.name != "constant")
    method = "greedy" if auto.ensemble and len(members) > 1 and ENSEMBLE not in names else None
    allowed = tuple(part.name for part in order if part.name in names)
    return Slate(tuple(order), (*allowed, ENSEMBLE) if method else allowed, method, members,
                 best=auto.choose == "best", pinned=auto.rounds, refit=auto.refit)  # fmt: skip


def _place(part: Candidate, baselines: Sequence[Candidate]) -> int:
    """Baselines first, in their order; a stable sort keeps that of the others."""
    words = [entry.name for entry in baselines]
    return words.index(part.name) if part.name in words else len(words)


def _ensemble(options: Ensembling, baselines: tuple[Candidate, ...], tasks: Sequence[Task]) -> Slate:
    apart = sorted({task.kind for task in tasks if not can_pool(task)})
    if apart:
        text = f"model: ensemble takes the mean of answers, which means nothing for {listed(apart)}"
        raise ModelError(f"{text}, allowed is one family. Name it.")
    members = named(options.members)
    for part in members:
        _check(part.component, tasks)
    names = tuple(part.name for part in members)
    candidates = (*(part for part in baselines if part.name not in names), *members)
    return Slate(candidates, (ENSEMBLE,), options.method, names, best=True, models=options.refit)


def named(components: Iterable[Component | str]) -> list[Candidate]:
    """Candidates with names of their own: the second `trees` is `trees-2`."""
    found: list[Candidate] = []
    counts: dict[str, int] = {}
    for entry in components:
        component = Component(entry) if isinstance(entry, str) else entry
        counts[component.type] = counts.get(component.type, 0) + 1
        number = counts[component.type]
        found.append(Candidate(component.type if number == 1 else f"{component.type}-{number}", component))
    return found


def _baselines(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The baselines that every output's task names, in the first one's order."""
    if not tasks:
        return BASELINES
    return tuple(word for word in tasks[0].baselines if all(word in task.baselines for task in tasks))


def _unfit(family: str, tasks: Iterable[Task]) -> list[str]:
    """Kinds among the tasks that a family cannot learn."""
    kinds = REGISTRIES["family"].constant(family, "kinds") or Family.kinds
    return sorted({task.kind for task in tasks} - set(kinds))


def _check(component: Component, tasks: Sequence[Task]) -> None:
    unfit = _unfit(component.type, tasks)
    if unfit:
        allowed = [word for word in REGISTRIES["family"].names() if not _unfit(word, tasks)]
        raise ModelError(
            f"model: {component.type} cannot learn {listed(unfit)}, allowed is {listed(allowed)}. Choose one of these."
        )
