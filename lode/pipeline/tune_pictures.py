"""The pictures of `lode tune`: the best so far, what mattered, every value that was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from lode.pipeline.pictures import BLUE, GREY, INK, ORANGE, SIZE_INCHES, Picture, draw, label, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_RATIO = 30.0
"""Values that lie further apart than this are drawn on a logarithmic axis."""


def progress(scores: Sequence[tuple[int, float]], metric: str, upward: bool) -> Picture:
    """scores: (number of the trial, its figure), in order; the line is the best so far."""
    numbers, values = [number for number, _ in scores], [value for _, value in scores]
    best = list(accumulate(values, max if upward else min))

    def paint(axes: Axes) -> None:
        axes.plot(numbers, values, "o", color=GREY, markersize=3.5, label="trial")
        axes.step(numbers, best, where="post", color=BLUE, linewidth=1.8, label="best so far")
        axes.set(xlabel="trial", ylabel=metric)
        axes.legend()

    return Picture(
        draw(SIZE_INCHES, paint), f"{metric} of {len(values)} trials; the best is {short(best[-1])}, the first {short(values[0])}."
    )


def importance(shares: Mapping[str, float]) -> Picture:
    """shares: option -> share of the spread that it explains, largest first."""
    names = list(shares)[:15]

    def paint(axes: Axes) -> None:
        places = list(range(len(names)))[::-1]
        axes.barh(places, [shares[name] for name in names], color=BLUE, height=0.62)
        axes.set_yticks(places, [label(name, 40) for name in names])
        axes.set(xlabel="share of the spread among good trials", xlim=(0, None))
        axes.tick_params(axis="y", length=0)

    words = "; ".join(f"{label(name, 40)} {shares[name]:.0%}" for name in names)
    return Picture(draw((6.4, max(1.6, 0.7 + 0.26 * len(names))), paint), f"What mattered: {words}.")


def tried(pairs: Sequence[tuple[Any, float]], name: str, metric: str) -> Picture:
    """pairs: (value of the option, figure of the trial); words stand side by side, numbers on an axis."""
    values, scores = [value for value, _ in pairs], [score for _, score in pairs]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    words = list(dict.fromkeys(map(str, values)))

    def paint(axes: Axes) -> None:
        places = values if numbers else [words.index(str(value)) for value in values]
        axes.plot(places, scores, "o", color=ORANGE, markersize=4, alpha=0.7, markeredgecolor=INK, markeredgewidth=0.3)
        if not numbers:
            axes.set_xticks(range(len(words)), [label(word, 14) for word in words])
        elif min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
            axes.set_xscale("log")
        axes.set(xlabel=label(name, 40), ylabel=metric)

    return Picture(draw((3.6, 2.6), paint), f"{metric} against {label(name, 40)} in {len(pairs)} trials.")
