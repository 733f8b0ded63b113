"""Rows, columns and task -> which family, and why. Small rules from our own measurements (docs/experiments.md, benchmarks/tables.md).

They say where to begin, not what wins: `lode run` judges every family on rows that none has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_FEW_ROWS, _MANY_ROWS = 2_000, 100_000
_TABLE = ("number", "category", "date", "binary")


@dataclass(frozen=True, slots=True)
class Advice:
    """family: a word for `model:`. reason: one sentence. sure: how much it rests on. others: what to try beside it."""

    family: str
    reason: str
    sure: str
    others: tuple[str, ...] = ()


def advise(rows: int, kinds: Sequence[str], task: str, families: Mapping[str, Sequence[str]] | None = None) -> Advice:
    """rows: that are learned from. kinds: words of the inputs' features. task: word of the first output's task.

    families: kind of task -> families that can learn it, to leave out what cannot; None for any.
    """
    rich = [kind for kind in kinds if kind in ("image", "audio", "series", "text", "set", "vector")]
    if "image" in rich or "audio" in rich:
        return Advice(
            "network", f"pixels and samples mean something only together: convolutions see that, trees do not ({rows:,} rows)",
            "measured: CIFAR-10 0.90 in eight epochs of `airbench`, digits 0.99 against 0.97 of a linear model", ("trees",),
        )  # fmt: skip
    if task in ("tags", "embedding", "ranking") or task == "anomaly":
        return _by_task(task, rows)
    if "text" in rich:
        return _of_texts(rows)
    if "series" in rich:
        return Advice(
            "network", "steps in order need an encoder that reads them in order", "measured on two series only", ("trees", "linear")
        )
    return _of_table(rows, task)


def _of_table(rows: int, task: str) -> Advice:
    if rows < _FEW_ROWS:
        return Advice(
            "auto", f"with {rows:,} rows the draw of the rows moves a score more than the family does: let all be judged out of fold; "
            "linear often wins", "measured: German credit (1,000 rows) linear 0.799 AUC against 0.789 of tuned trees, within the interval",
            ("linear", "trees", "realmlp"),
        )  # fmt: skip
    if rows > _MANY_ROWS:
        return Advice(
            "trees", f"on {rows:,} rows of a table boosting learns most for each second; networks catch up with hours",
            "measured up to 100,000 rows; beyond, from the literature (Grinsztajn 2022, arXiv 2207.08815)", ("tabm", "realmlp"),
        )  # fmt: skip
    return Advice(
        "trees", f"on {rows:,} rows of a table boosted trees are the safe first choice; with a minute to spare, `model: auto` puts "
        "several kinds together and was first on four public tables", "measured on seven tables, few draws each: no proof for yours",
        ("auto", "realmlp", "tabm", "linear"),
    )  # fmt: skip


def _of_texts(rows: int) -> Advice:
    if rows < 20_000:
        return Advice(
            "auto", f"with {rows:,} texts, term weights and a linear model are hard to beat; a pretrained encoder, where there is one for "
            "the language, is what helps", "measured: SMS spam and Chinese hotel reviews", ("linear", "network"),
        )  # fmt: skip
    return Advice("network", f"{rows:,} texts are enough to learn an encoder", "measured: SST-2 and Chinese reviews", ("linear",))


def _by_task(task: str, rows: int) -> Advice:
    if task == "anomaly":
        return Advice("isolation", "nothing says what an anomaly looks like: what is easily cut off is rare", "measured on planted ones",
                      ("autoencoder", "principal"))  # fmt: skip
    if task == "ranking":
        return Advice("trees", "LambdaMART learns the order within groups itself", "measured on film ratings", ("network",))
    return Advice(
        "network", f"only networks give an answer for every step, or vectors ({rows:,} rows)", "there is nothing else", ()
    )
