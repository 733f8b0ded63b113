"""The pictures of a report, as SVG in a data address: sharp in print, nothing to fetch, same numbers give same bytes.

Called by `lode/pipeline/sections.py` with parts of the report. matplotlib is loaded when the first picture is drawn,
through its object interface only (no global figure, no window).
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY, INK = "#2b5c8a", "#c4622d", "#9aa3ad", "#2a2f36"
COLOURS = (BLUE, ORANGE, "#4f8a4b", "#7a5aa6", "#b8a12f", "#3d8f8f", "#a8466b", "#6b5b4c", "#5f7fd0", GREY)
SIZE_INCHES = (4.6, 3.3)
NUM_LABELLED_CLASSES = 20
MAX_LABEL_CHARS = 24

# The later ones hold Chinese, Japanese and Korean. Only installed ones are named: matplotlib complains about others.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
    "Microsoft YaHei",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """source: a `data:` address of the image. alt: what it shows, with its numbers."""

    source: str
    alt: str


def label(text: Any, limit: int = MAX_LABEL_CHARS) -> str:
    """One printable line of at most `limit` characters; control characters (not allowed in SVG) become spaces."""
    clean = "".join(char if char.isprintable() else " " for char in str(text)).strip() or "(blank)"
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def short(value: float | None) -> str:
    """A number in at most four significant digits."""
    return "undefined" if value is None or not math.isfinite(value) else f"{value:,.4g}"


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Picture:
    """Rows are the truth, columns the answer; colour is the share of the row. matrix: counts (K, K)."""
    shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
    names = [label(name, 14) for name in classes]

    def paint(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set(xlabel="answer", ylabel="truth")
        if len(names) <= NUM_LABELLED_CLASSES:
            crowded = len(names) > 10 or sum(map(len, names)) > 36
            axes.set_xticks(range(len(names)), names, rotation=40 if crowded else 0, ha="right" if crowded else "center")
            axes.set_yticks(range(len(names)), names)
            _counts(axes, matrix, shares)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    side = min(7.0, max(3.4, 1.6 + 0.42 * len(names))) if len(names) <= NUM_LABELLED_CLASSES else 5.0
    right = sum(row[code] for code, row in enumerate(matrix))
    total = sum(map(sum, matrix))
    alt = f"Confusion matrix of {len(classes)} classes: {right:,} of {total:,} rows on the diagonal."
    return Picture(draw((side * 1.25, side), paint), alt + _cells(matrix, classes))


def _counts(axes: Axes, matrix: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> None:
    size = 9 if len(matrix) <= 6 else 6.5
    for true, row in enumerate(matrix):
        for said, count in enumerate(row):
            colour = "white" if shares[true][said] > 0.55 else INK
            axes.text(said, true, f"{count:,}", ha="center", va="center", color=colour, fontsize=size)


def _cells(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    if len(classes) > 4:
        return ""
    cells = [f"truth {label(a)} answered {label(b)} {matrix[i][j]:,}" for i, a in enumerate(classes) for j, b in enumerate(classes)]
    return " " + "; ".join(cells) + "."


def roc(curve: Mapping[str, Sequence[float]], area: float | None) -> Picture:
    """curve: `false_positive_rate` and `true_positive_rate`, equally long."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="chance")
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=BLUE, linewidth=1.8, label="model")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right")

    return Picture(draw(SIZE_INCHES, paint), f"ROC curve; area under it {short(area)}, chance is 0.5.")


def precision_recall(curve: Mapping[str, Sequence[float]], prevalence: float) -> Picture:
    """curve: `recall` and `precision`, equally long."""

    def paint(axes: Axes) -> None:
        axes.axhline(prevalence, color=GREY, linewidth=1, linestyle="--", label="chance")
        axes.plot(curve["recall"], curve["precision"], color=BLUE, linewidth=1.8, label="model")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(loc="lower left")

    alt = f"Precision against recall; chance is the share of positives, {short(prevalence)}."
    return Picture(draw(SIZE_INCHES, paint), alt)


def reliability(bins: Sequence[Mapping[str, float]], error: float | None, what: str) -> Picture:
    """bins: `confidence`, `share` (observed) and `rows` of each bin. what: the event whose probability was said."""

    def paint(axes: Axes) -> None:
        from matplotlib.collections import PathCollection

        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="as often as said")
        most = max((item["rows"] for item in bins), default=1)
        sizes = [12 + 140 * item["rows"] / most for item in bins]
        said, seen = [item["confidence"] for item in bins], [item["share"] for item in bins]
        axes.plot(said, seen, color=BLUE, linewidth=1, alpha=0.6)
        axes.scatter(said, seen, s=sizes, color=BLUE, zorder=3, label="model (larger: more rows)", linewidths=0)
        axes.set(xlabel=f"said probability of {what}", ylabel="how often it was so", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        legend = axes.legend(loc="upper left")
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([30])

    points = "; ".join(f"{short(item['confidence'])} said, {short(item['share'])} seen" for item in bins)
    alt = f"Reliability: expected calibration error {short(error)}. {points}."
    return Picture(draw(SIZE_INCHES, paint), alt)


def predicted_against_true(points: Mapping[str, Sequence[float]], r2: float | None) -> Picture:
    """points: `truth` and `prediction`, equally long."""

    def paint(axes: Axes) -> None:
        both = [*points["truth"], *points["prediction"]]
        axes.axline((min(both), min(both)), slope=1, color=GREY, linewidth=1, linestyle="--")
        # Small dots, see-through: where rows lie on top of one another the picture gets darker.
        axes.scatter(
            points["truth"],
            points["prediction"],
            s=9,
            alpha=min(0.8, max(0.25, 300 / len(both))),
            color=BLUE,
            linewidths=0,
            rasterized=True,
        )
        axes.set(xlabel="truth", ylabel="prediction")

    fit = "" if r2 is None else f"; R2 {short(r2)}"
    return Picture(draw(SIZE_INCHES, paint), f"Prediction against truth of {len(points['truth']):,} test rows{fit}.")


def residuals(histogram: Mapping[str, Sequence[float]], quantiles: Mapping[str, float]) -> Picture:
    """histogram: `edges` (M + 1) and `rows` (M) of prediction minus truth."""

    def paint(axes: Axes) -> None:
        axes.stairs(histogram["rows"], histogram["edges"], fill=True, color=BLUE, alpha=0.85)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(xlabel="prediction minus truth", ylabel="rows")

    alt = f"Errors (prediction minus truth): median {short(quantiles.get('0.5'))}, "
    alt += f"nine in ten between {short(quantiles.get('0.05'))} and {short(quantiles.get('0.95'))}."
    return Picture(draw(SIZE_INCHES, paint), alt)


def importance(items: Sequence[Mapping[str, Any]], metric: str) -> Picture:
    """items: `input`, `loss`, `low`, `high`, largest loss first; the first 15 are drawn."""
    shown = list(items)[:15]

    def paint(axes: Axes) -> None:
        places = list(range(len(shown)))[::-1]
        axes.barh(places, [item["loss"] for item in shown], color=BLUE, height=0.62)
        axes.hlines(places, [item["low"] for item in shown], [item["high"] for item in shown], color=INK, linewidth=1.2)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(places, [label(item["input"]) for item in shown])
        axes.set(xlabel=f"{metric} lost when the column is shuffled")
        axes.tick_params(axis="y", length=0)

    words = "; ".join(f"{label(item['input'], 40)} {short(item['loss'])}" for item in shown)
    height = max(1.6, 0.7 + 0.26 * len(shown))
    return Picture(draw((6.4, height), paint), f"Loss of {metric} when one input is shuffled: {words}.")


def profit(curves: Mapping[str, Sequence[Mapping[str, float]]], threshold: float | None, unit: str) -> Picture:
    """curves: name -> points with `threshold` and `value`. threshold: the chosen one."""

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=0.8)
        for name, points in curves.items():
            colour, words = (BLUE, "test rows") if name == "test" else (GREY, "rows that chose the threshold")
            x, y = [point["threshold"] for point in points], [point["value"] for point in points]
            axes.plot(x, y, color=colour, linewidth=1.7, label=words)
        if threshold is not None:
            axes.axvline(threshold, color=ORANGE, linewidth=1.4, linestyle="--", label=f"chosen: {short(threshold)}")
        axes.legend()
        axes.yaxis.set_major_formatter("{x:,.10g}")
        axes.set(xlabel="decision threshold (probability)", ylabel=unit)

    tops = {name: max(points, key=lambda point: point["value"]) for name, points in curves.items()}
    best = "; ".join(f"{name}: most {short(top['value'])} at {short(top['threshold'])}" for name, top in tops.items())
    return Picture(draw((6.4, 3.2), paint), f"Profit curve in {unit}. {best}. Chosen threshold {short(threshold)}.")


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_name: str, y_name: str, title: str) -> Picture:
    """series: name -> (x, y). For training histories and learning curves."""
    colours = (BLUE, ORANGE, "#4f8a4b", "#7a5aa6", GREY)

    def paint(axes: Axes) -> None:
        for place, (name, (x, y)) in enumerate(series.items()):
            marker = "o" if len(x) < 12 else None
            axes.plot(
                x,
                y,
                color=colours[place % len(colours)],
                linewidth=1.6,
                marker=marker,
                markersize=3.5,
                label=label(name),
            )
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.legend()

    ends = "; ".join(f"{label(name)} from {short(y[0])} to {short(y[-1])}" for name, (_, y) in series.items() if len(y))
    return Picture(draw(SIZE_INCHES, paint), f"{title}: {ends}.")


def plane(points: Mapping[str, Any]) -> Picture:
    """points: `x`, `y`, `value` (codes of `classes`, or numbers where that is None) and `output`."""
    classes, values = points["classes"], points["value"]
    size = min(12.0, max(3.0, 6_000 / len(values)))
    dots: Any = {"s": size, "alpha": 0.75, "linewidths": 0, "rasterized": True}

    def paint(axes: Axes) -> None:
        if classes is None or len(classes) > len(COLOURS):
            drawn = axes.scatter(points["x"], points["y"], c=values, cmap="viridis", **dots)
            if classes is None:
                axes.figure.colorbar(drawn, ax=axes, label=label(points["output"]))
        else:
            for code, name in enumerate(classes):
                here = [place for place, value in enumerate(values) if value == code]
                x, y = ([points[axis][place] for place in here] for axis in ("x", "y"))
                axes.scatter(x, y, color=COLOURS[code], label=label(name), **dots)
            axes.legend(markerscale=2, loc="best")
        axes.set(xticks=[], yticks=[])

    return Picture(draw((5.6, 4.4), paint), f"{len(values):,} test rows in two dimensions, coloured by {label(points['output'])}.")


def draw(size: tuple[float, float], paint: Callable[[Axes], None]) -> str:
    """The data address of an SVG. size: inches."""
    with _style():
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained", dpi=150)
        paint(figure.subplots())
        buffer = io.BytesIO()
        # No date and no program version in the file: the same report gives the same bytes.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults (not the user's matplotlibrc) with our fonts and colours, undone afterwards."""
    import matplotlib.style
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    settings = {
        "font.family": [name for name in FONTS if name in installed] or ["DejaVu Sans"],
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a class may be called "$\frac$"
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "svg.fonttype": "none",  # the reader's own fonts write the words, so that every script of the world shows
        "svg.hashsalt": "lode",
    }
    with warnings.catch_warnings(), matplotlib.style.context(["default", settings]):
        # Measuring a word in a font that lacks its glyphs warns once a glyph; the reader's font will have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
