"""The blocks of the report's page about fairness and robustness. Called by `lode/pipeline/sections.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lode.pipeline import fairness, scoring, wording
from lode.pipeline.page import Block, heading, note, table, text
from lode.pipeline.slices import MIN_ROWS

MAX_DAMAGES = 50

_NO_VERDICT = (
    "A gap neither proves nor disproves discrimination in law: that asks why it is there, and whether it is needed. "
    "Where base rates differ, no useful model is equal by all figures at once."
)


def fair(record: Mapping[str, Any]) -> list[Block]:
    """What each group gets, which gaps are surely there, and what they cost."""
    found = record.get("fairness")
    if not found:
        return []
    blocks = [heading("Do groups of people get the same?")]
    if found["favourable"] is not None:
        blocks.append(text(f'The answer that people wish for is "{found["favourable"]}" (`evaluate.favourable`).'))
    for column in found["columns"]:
        blocks += _column(column)
    words = [
        f"{fairness.title(word)}: {fairness.TITLES[word][1]}" for word in _words(found["columns"][0]) if word in fairness.TITLES
    ]
    words.append(f"in brackets the 95 % interval; figures of fewer than {MIN_ROWS} rows are shown, never judged")
    return [*blocks, note("; ".join(words).capitalize() + "."), note(_NO_VERDICT)]


def _words(column: Mapping[str, Any]) -> list[str]:
    return list(column["groups"][0]["figures"])


def _column(column: Mapping[str, Any]) -> list[Block]:
    words, name = _words(column), column["column"]
    rows = [
        [wording.shown(group["group"]), group["rows"], *(wording.interval(group["figures"][word]) for word in words)]
        for group in column["groups"]
    ]
    blocks = [table([name, "rows", *map(fairness.title, words)], rows, numeric=range(1, 2 + len(words)))]
    if not column["gaps"]:
        return [*blocks, text(f"Nothing is judged by {name}: fewer than two groups have {MIN_ROWS} rows.")]
    lines, marks = [], []
    for word, gap in column["gaps"].items():
        term = fairness.GAPS.get(word, f"difference of {fairness.title(word)}")
        surest = gap["surest"]
        lines.append([term, _pair(gap), wording.interval({**gap, "value": gap["difference"]}), _surely(gap, surest)])
        marks.append("bad" if gap["sure"] else "")
    caption = "The largest difference of two groups; intervals hold for all pairs of groups at once."
    blocks.append(table([f"gap by {name}", "between", "difference", "surely there"], lines, marks, caption))
    return [*blocks, text(_sure_gaps(column)), *([text(_four_fifths(column["ratio"]))] if column["ratio"] else [])]


def _sure_gaps(column: Mapping[str, Any]) -> str:
    """Which gaps are surely there, in words, with the figures of both groups."""
    value = {(group["group"], word): entry["value"] for group in column["groups"] for word, entry in group["figures"].items()}
    found = []
    for word, gap in column["gaps"].items():
        if gap["surest"] is not None and word != "equalized_odds":
            higher, lower = gap["surest"]["higher"], gap["surest"]["lower"]
            above, below = wording.number(value[higher, word]), wording.number(value[lower, word])
            found.append(f"{fairness.title(word)} {above} for {wording.shown(higher)}, {below} for {wording.shown(lower)}")
    return f"Surely there by {column['column']}: {'; '.join(found)}." if found else f"No gap by {column['column']} is surely there."


def _pair(gap: Mapping[str, Any]) -> str:
    return f"{wording.shown(gap['higher'])} over {wording.shown(gap['lower'])}"


def _surely(gap: Mapping[str, Any], surest: Mapping[str, Any] | None) -> str:
    """Of many groups the extreme ones may be small; then another pair is named."""
    if surest is None:
        return "no"
    figure = surest.get("figure", gap["figure"])  # of equalized odds it may be the other rate
    if (surest["higher"], surest["lower"], figure) == (gap["higher"], gap["lower"], gap["figure"]):
        return "yes"
    words = _pair(surest) if figure == gap["figure"] else f"{fairness.title(figure)}, {_pair(surest)}"
    return f"yes, {words}: {wording.interval({**surest, 'value': surest['difference']})}"


def _four_fifths(ratio: Mapping[str, Any]) -> str:
    least = (
        f"{wording.shown(ratio['lower'])} is selected {wording.interval(ratio)} times as often as {wording.shown(ratio['higher'])}"
    )
    below = ", ".join(wording.shown(each["group"]) for each in ratio["below"])
    verdict = f"surely below four fifths: {below}." if below else "no group is surely below four fifths."
    return f"{least} (demographic parity ratio); {verdict}"


def robust(record: Mapping[str, Any]) -> list[Block]:
    """What damaged inputs cost, the worst first."""
    found = record.get("robustness")
    if not found:
        return []
    title = scoring.title(found["metric"])
    shown, has_money = found["damages"][:MAX_DAMAGES], any(damage["money"] for damage in found["damages"])
    rows, marks = [], []
    for damage in shown:
        drop = {"value": damage["drop"], "low": damage["drop_low"], "high": damage["drop_high"]}
        row = [wording.struck(damage), wording.interval(damage), wording.interval(drop)]
        rows.append([*row, *([_money(damage["money"])] if has_money else [])])
        marks.append("bad" if damage["collapsed"] else "")
    header = ["damage", title, "lost", *(["costs per 1,000 decisions"] if has_money else [])]
    words = f"On {found['rows']:,} test rows {title} is {wording.interval(found)} undamaged; the same answer for every row reaches "
    words += f"{wording.number(found['constant'])}. Lost: better before counted positive, on the same rows."
    more = len(found["damages"]) - len(shown)
    blocks = [heading("What if its inputs are damaged?"), text(wording.loses_most(found)), note(words)]
    return [*blocks, table(header, rows, marks), *([note(f"{more} more are in report.json.")] if more else [])]


def _money(costs: Mapping[str, str]) -> str:
    return f"{wording.money(costs['cost'])} [{wording.money(costs['low'])}, {wording.money(costs['high'])}]"
