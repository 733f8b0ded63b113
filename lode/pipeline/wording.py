"""The report in words: headline, a sentence for each output, warnings. Plain for a founder, exact enough to quote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lode.pipeline import scoring

FEW_ROWS = 100
POOR_CALIBRATION = 0.1
_SHARES = frozenset({"accuracy", "auc", "r2"})


def number(value: float | None) -> str:
    """At most four significant digits; "undefined" where there is none."""
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{value:,.0f}" if abs(value) >= 10000 else f"{value:,.4g}"


def interval(record: Mapping[str, Any]) -> str:
    """`0.991 [0.978, 0.999]`, with as many decimals as the width of the interval deserves."""
    value, low, high = (record[key] for key in ("value", "low", "high"))
    return "{} [{}, {}]".format(*alike(value, low, high))


def alike(value: float | None, low: float | None, high: float | None) -> tuple[str, str, str]:
    """A figure and its interval with the same number of decimals: two digits of the width."""
    bounds = (value, low, high)
    width = high - low if low is not None and high is not None else 0.0
    if not math.isfinite(width) or width <= 0:
        return number(value), number(low), number(high)
    decimals = min(6, max(0, 1 - math.floor(math.log10(width))))
    shown = [number(bound) if bound is None or not math.isfinite(bound) else f"{bound:z,.{decimals}f}" for bound in bounds]
    return shown[0], shown[1], shown[2]


def headline(report: Mapping[str, Any]) -> str:
    """The first line: what it is worth where a value is given, else what it reaches; or that nothing was learnt."""
    name, first = next(iter(report["outputs"].items()))
    value = report["value"]["sentence"] if report.get("value") else ""
    if not first["learnt"]:
        return f"{first['sentence']} {value}".strip()
    prefix = f"{name}: " if len(report["outputs"]) > 1 else ""
    return value or prefix + first["sentence"]


def sentence(name: str, record: Mapping[str, Any]) -> str:
    """What the model reaches on the test rows of an output, against the best baseline."""
    word, first = next(iter(record["metrics"].items()))
    rows = f"{record['rows']:,} test row" + ("" if record["rows"] == 1 else "s")
    if record["kind"] == "anomaly" and not math.isfinite(first["value"]):
        return f"Of {rows} {record['each']['rows'][0]['flagged']:,} are flagged; no label says whether rightly."
    between = f"{first['title']}, 95 % interval {_figure(word, first['low'])} to {_figure(word, first['high'])}"
    if not record["learnt"]:
        value, low, high = alike(first["value"], first["low"], first["high"])
        reached = f"{first['title']} is {value} (95 % interval {low} to {high})"
        constant = number(record["constant"]["value"])
        same = f"not surely better than giving every row the same answer ({constant})"
        return f"Nothing was learnt: on {rows} {reached}, {same}."
    return f"On {rows} the model {_reaches(name, word, record)} ({between}){_beside(word, record)}."


def _reaches(name: str, word: str, record: Mapping[str, Any]) -> str:
    value = _figure(word, record["metrics"][word]["value"])
    if word == "accuracy":
        return f"answers {value} of the rows rightly"
    if word == "auc" and record["kind"] == "anomaly":
        return f"ranks an anomaly above another row {value} of the time"
    if word == "auc":
        negative, positive = record["classes"]
        return f'ranks a row with {name} "{positive}" above one with "{negative}" {value} of the time'
    if word == "r2":
        return f"explains {value} of the variance"
    return f"reaches {record['metrics'][word]['title']} {value}"


def _beside(word: str, record: Mapping[str, Any]) -> str:
    against = record["against"]
    if against is None:
        return ""
    value = _figure(word, record["metrics"][word]["baselines"][against["baseline"]]["value"])
    return f"; the best baseline, {against['baseline']}, reaches {value}: {verdict(against)}"


def verdict(against: Mapping[str, Any]) -> str:
    """The paired difference in words."""
    if against["low"] is not None and against["low"] > 0:
        return "the model is clearly better"
    if against["high"] is not None and against["high"] < 0:
        return "the model is clearly worse"
    return "no clear difference"


def _figure(word: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{100 * value:.1f} %" if word in _SHARES else number(value)


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the figures."""
    found: list[str] = []
    for position, (name, record) in enumerate(report["outputs"].items()):
        if position and not record["learnt"]:
            found.append(f"{name}: {record['sentence']}")
        found += [f"{name}: {text}" for text in _output_warnings(record)]
    return found


def _output_warnings(record: Mapping[str, Any]) -> list[str]:
    found = []
    word, first = next(iter(record["metrics"].items()))
    if record["rows"] < FEW_ROWS:
        found.append(f"only {record['rows']} test rows, so every interval is wide; more test rows would narrow them.")
    if record["unlabelled"]:
        found.append(f"{record['unlabelled']:,} test rows have no label, or one that training never saw; they are not judged.")
    if not math.isfinite(first["value"]) and record["kind"] != "anomaly":
        found.append(f"{first['title']} is undefined on the test rows: they hold one class only.")
    against = record["against"]
    if against is not None and verdict(against) == "the model is clearly worse":
        gap = f"{number(-against['difference'])} {scoring.title(word)}"
        found.append(f"the baseline {against['baseline']} is clearly better than the model, by {gap}.")
    error = record.get("calibration", {}).get("error")
    if error is not None and error > POOR_CALIBRATION:
        found.append(f"probabilities are off by {number(error)} on average; read them as a ranking.")
    worse = [f"{group['column']} = {shown(group['group'])}" for group in record["slices"]["groups"] if group["worse"]]
    if worse:
        listed = "; ".join(worse[:5]) + (f" and {len(worse) - 5} more" if len(worse) > 5 else "")
        found.append(f"clearly worse than over all rows where {listed}.")
    return found + _audit_warnings(record)


def _audit_warnings(record: Mapping[str, Any]) -> list[str]:
    """Selection rates that are surely too low for a group, and damages that leave nothing of what was learnt."""
    found = []
    for column in record.get("fairness", {"columns": ()})["columns"]:
        ratio = column["ratio"]
        if ratio and ratio["below"]:
            below = ", ".join(f"{shown(each['group'])} ({number(each['value'])} times)" for each in ratio["below"])
            found.append(
                f'by {column["column"]}, surely less than four fifths as many get "{record["fairness"]["favourable"]}" as of '
                f"{shown(ratio['higher'])}: {below}; four-fifths rule, 29 CFR 1607.4(D)."
            )
    harmed = record.get("robustness", {"damages": ()})
    return found + [
        f"no better than the same answer for every row ({number(harmed['constant'])}) with {struck(damage)}: "
        f"{scoring.title(harmed['metric'])} goes from {number(harmed['value'])} to {number(damage['value'])}."
        for damage in [each for each in harmed["damages"] if each["collapsed"]][:5]
    ]


def struck(damage: Mapping[str, Any]) -> str:
    """What happened to which input: `a whole input missing (age)`; inputs are named where it is one of several."""
    inputs = damage["inputs"]
    return f"{damage['says']} ({inputs[0]})" if len(inputs) == 1 else damage["says"]


def loses_most(record: Mapping[str, Any]) -> str:
    """The plain sentence of a robustness record."""
    worst, title = record["damages"][0], scoring.title(record["metric"])
    if not worst["drop_low"] or not worst["drop_low"] > 0:
        return f"No damage surely costs {title}."
    words = f"Loses most with {struck(worst)}: {title} {number(record['value'])} becomes {number(worst['value'])}"
    return words + (", no better than the same answer for every row." if worst["collapsed"] else ".")


def rule(positive: str, threshold: float) -> str:
    """When a binary output answers the positive class."""
    if threshold <= 0:
        return f'Every row is answered "{positive}".'
    if threshold > 1:
        return f'No row is answered "{positive}".'
    return f'"{positive}" is answered from a probability of {number(threshold)} on.'


def money(amount: str) -> str:
    """An exact amount for reading: whole units from 100 on, cents below, two digits below a cent."""
    value = Decimal(amount)
    if value and abs(value) < Decimal("0.01"):
        return f"{float(value):.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def shown(group: str | None) -> str:
    """A slice's group; a missing cell is said to be one."""
    return "(missing)" if group is None else group
