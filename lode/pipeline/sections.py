"""The report's JSON arranged as sections of blocks: what the page shows, in order, without a word of HTML.

`lode/pipeline/report.py` hands the sections to the template. A part that the report lacks gives no section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lode.pipeline import curve_page, pictures, scoring, wording
from lode.pipeline.audits import fair, robust
from lode.pipeline.page import Block, cell, drawn, heading, note, table, text
from lode.pipeline.wording import number

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def sections(report: Mapping[str, Any]) -> list[Section]:
    """Every section that the report has something for."""
    found = [Section("What it is worth", _value(report))]
    several = len(report["outputs"]) > 1
    for name, record in report["outputs"].items():
        found.append(Section(f"Output: {name}", _output(record, with_sentence=several)))
    found.append(Section("The data in two dimensions", _plane(report.get("plane"))))
    facts = report["facts"]
    for key, (title, make) in _FACTS.items():
        if facts.get(key):
            found.append(Section(title, make(facts[key])))
    rest = {key: entry for key, entry in facts.items() if key not in {*_FACTS, *_USED} and entry not in (None, "", [], {})}
    found.append(Section("Also recorded", anything(rest) if rest else []))
    return [section for section in found if section.blocks]


def _value(report: Mapping[str, Any]) -> list[Block]:
    value = report.get("value")
    if not value:
        return []
    unit = f"{value['currency']} per 1,000 decisions"
    rows = [["the model", wording.money(value["value"]), _money_interval(value), "", ""]]
    for kind, title in (("simple", ""), ("baselines", "baseline ")):
        for rival in value[kind]:
            more = wording.money(rival["difference"])
            rows.append([f"{title}{rival['name']}", wording.money(rival["value"]), "", more, _money_interval(rival)])
    header = ["policy", unit, "95 % interval", "the model earns more by", "95 % interval of that"]
    blocks = [table(header, rows, ["strong", *[""] * (len(rows) - 1)], f"{value['rows']:,} test rows", range(1, 5))]
    threshold = value["policy"].get("threshold")
    if value["curves"]:
        caption = "What every threshold would have earned. It was chosen on rows that the test does not hold."
        blocks.append(drawn((caption, pictures.profit(value["curves"], threshold, unit))))
    return blocks + _costs(value)


def _money_interval(record: Mapping[str, Any]) -> str:
    return f"{wording.money(record['low'])} to {wording.money(record['high'])}"


def _costs(value: Mapping[str, Any]) -> list[Block]:
    """Computing beside the value: of all decisions where their number is given."""
    costs, rows = value["costs"], []
    if costs is not None:
        rows.append(["computing: training, once", wording.money(costs["training"])])
        rows.append(["computing: serving, per 1,000 decisions", wording.money(costs["serving"])])
    if value["gross"] is not None:
        rows.append([f"value of {value['decisions']:,} decisions, gross", wording.money(value["gross"])])
    if value["net"] is not None:
        rows.append([f"value of {value['decisions']:,} decisions, less computing", wording.money(value["net"])])
    return [table(["money", value["currency"]], rows, numeric=(1,))] if rows else []


def _output(record: Mapping[str, Any], with_sentence: bool) -> list[Block]:
    blocks = [text(record["sentence"])] if with_sentence else []
    blocks += _metrics(record)
    for part in (_confusion, _of_kind, _curves, _calibration, _numbers, _importance, _slices, fair, robust, _worst):
        blocks += part(record)
    return blocks


def _metrics(record: Mapping[str, Any]) -> list[Block]:
    others = list(next(iter(record["metrics"].values()))["baselines"])
    rows = [
        [
            entry["title"],
            wording.interval(entry),
            *(wording.interval(entry["baselines"][name]) for name in others),
            _meaning(word),
        ]
        for word, entry in record["metrics"].items()
    ]
    marks = ["strong", *[""] * (len(rows) - 1)]
    header = ["metric", "model", *(f"baseline {name}" for name in others), "in words"]
    blocks = [table(header, rows, marks, f"{record['rows']:,} test rows; in brackets the 95 % interval")]
    against = record["against"]
    if against is not None:
        title = scoring.title(against["metric"])
        words = f"{title[:1].upper()}{title[1:]} against the best baseline ({against['baseline']}), "
        words += f"better counted positive: {wording.interval({**against, 'value': against['difference']})}; "
        words += f"{wording.verdict(against)}."
        blocks.append(text(words))
    return blocks


def _meaning(word: str) -> str:
    return scoring.METRICS.get(word, ("", ""))[1]


def _confusion(record: Mapping[str, Any]) -> list[Block]:
    found = record.get("confusion")
    if not found:
        return []
    blocks = [heading("Which classes are mistaken for which")]
    if record.get("threshold") is not None:
        blocks.append(note(wording.rule(record["classes"][1], record["threshold"])))
    if found["matrix"]:
        blocks.append(drawn(("Rows are the truth, columns the answer.", pictures.confusion(found["matrix"], found["classes"]))))
    rows = [[item["class"], item["rows"], item["precision"], item["recall"], item["f1"]] for item in found["per_class"][:MAX_SHOWN]]
    blocks.append(table(["class", "rows", "precision", "recall", "F1"], rows))
    if len(found["classes"]) > 2 and found["confused"]:
        rows = [[item["truth"], item["answer"], item["rows"]] for item in found["confused"]]
        blocks.append(table(["truth", "answer", "rows"], rows, caption="Confused most often"))
    return blocks


def _of_kind(record: Mapping[str, Any]) -> list[Block]:
    """What `lode/pipeline/kinds.py` found: a table of labels, levels, or kinds of entities."""
    found = record.get("each")
    if not found or not found["rows"]:
        return []
    shown = [list(row.values()) for row in found["rows"][:MAX_SHOWN]]
    blocks = [heading(found["title"]), table([key.replace("_", " ") for key in found["rows"][0]], shown)]
    if found.get("bins"):
        picture = pictures.reliability(found["bins"], found["error"], "lying below")
        blocks.append(drawn(("Levels that were asked for against what was seen.", picture)))
    return blocks + [note(words) for words in found.get("notes", ())]


def _curves(record: Mapping[str, Any]) -> list[Block]:
    found = record.get("curves")
    if not found:
        return []
    areas = {word: record["metrics"].get(word, {}).get("value") for word in ("auc", "average_precision")}
    roc = pictures.roc(found["roc"], areas["auc"])
    precision = pictures.precision_recall(found["precision_recall"], found["prevalence"])
    captions = [f"{scoring.title(word)} {number(value)}" if value is not None else "" for word, value in areas.items()]
    return [
        heading("Ranking"),
        drawn((f"ROC curve. {captions[0]}", roc), (f"Precision and recall. {captions[1]}", precision)),
    ]


def _calibration(record: Mapping[str, Any]) -> list[Block]:
    found = record.get("calibration")
    if not found:
        return []
    words = f"Said probabilities differ from what happened by {number(found['error'])} on average"
    words += " (expected calibration error)."
    if found["temperature"] != 1.0:
        words += f" Scores are divided by a temperature of {number(found['temperature'])}; "
        words += f"without it: {number(found['error_before'])}."
    positive = record["classes"][1] if record["kind"] == "binary" else ""
    what = {"binary": f'"{pictures.label(positive)}"', "labels": "a label"}.get(record["kind"], "the likeliest class")
    picture = pictures.reliability(found["bins"], found["error"], what)
    return [heading("Can its probabilities be taken at their word?"), text(words), drawn(("Reliability", picture))]


def _numbers(record: Mapping[str, Any]) -> list[Block]:
    if "points" not in record:
        return []
    r2 = record["metrics"].get("r2", {}).get("value")
    residuals = record["residuals"]
    scatter = pictures.predicted_against_true(record["points"], r2)
    histogram = pictures.residuals(residuals["histogram"], residuals["quantiles"])
    beyond = f" {residuals['outside']} rows lie outside the picture." if residuals["outside"] else ""
    middle = [number(residuals["quantiles"][part]) for part in ("0.25", "0.75")]
    caption = f"Half of all errors lie between {middle[0]} and {middle[1]}.{beyond}"
    return [
        heading("Predictions and errors"),
        drawn(("Prediction against truth; on the line both agree.", scatter), (caption, histogram)),
    ]


def _importance(record: Mapping[str, Any]) -> list[Block]:
    found = record.get("importance")
    if not found:
        return []
    word = scoring.title(found["metric"])
    caption = f"{found['rows']:,} test rows, {found['repeats']} shuffles each; lines: smallest to largest loss."
    words = f"How much {word} is lost when one column is shuffled. "
    words += "Inputs that say the same share their importance, so each may look small."
    return [heading("What it looks at"), note(words), drawn((caption, pictures.importance(found["inputs"], word)))]


def _slices(record: Mapping[str, Any]) -> list[Block]:
    found = record["slices"]
    if not found["groups"]:
        return []
    word = scoring.title(found["metric"])
    # The worst come first: they are why one looks.
    order = sorted(found["groups"], key=lambda group: (not group["worse"], not group["judged"]))[:MAX_SHOWN]
    rows, marks = [], []
    for group in order:
        remark = "clearly worse" if group["worse"] else (f"not judged: {group['why']}" if not group["judged"] else "")
        rows.append([group["column"], wording.shown(group["group"]), group["rows"], wording.interval(group), remark])
        marks.append("bad" if group["worse"] else "")
    words = f"{word} over all rows is {number(found['value'])}. "
    words += "Of every 40 groups that are as good as the rest, one looks clearly worse by chance."
    if len(found["groups"]) > MAX_SHOWN:
        words += f" {len(found['groups']) - MAX_SHOWN} more groups are in report.json."
    return [
        heading("Is any group served worse?"),
        note(words),
        table(["column", "group", "rows", word, ""], rows, marks),
    ]


def _worst(record: Mapping[str, Any]) -> list[Block]:
    if not record["worst"]:
        return []
    last = next(key for key in record["worst"][0] if key not in ("row", "truth", "answer"))
    rows = [[f"{item['row']}", item["truth"], item["answer"], item[last]] for item in record["worst"]]
    title = "Most confident mistakes" if record["kind"] in ("binary", "multiclass") else "Largest errors"
    words = "Rows are counted from 0 in the raw data. Look at them first: wrong labels and broken cells gather here."
    return [heading(title), note(words), table(["row", "truth", "answer", last], rows)]


def _plane(points: Mapping[str, Any] | None) -> list[Block]:
    if not points:
        return []
    how = {"tsne": "t-SNE", "umap": "UMAP"}[points["by"]]
    words = "Rows with like inputs lie near one another; far distances and the sizes of heaps mean nothing. Where the colours lie apart, "
    words += "the inputs tell them apart; where they are mixed, no model sees much."
    return [
        note(words),
        drawn((f"{len(points['x']):,} test rows by {how}, coloured by {points['output']}.", pictures.plane(points))),
    ]


def _selection(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    blocks = _records(rows)
    for block in blocks:
        for line, row in zip(block["rows"], rows, strict=False):
            line["mark"] = "strong" if row.get("chosen") else ""
    return blocks


def _history(candidates: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Block]:
    pairs = []
    for name, rounds in candidates.items():
        keys = [key for key in dict.fromkeys(key for entry in rounds for key in entry) if "loss" in key]
        series = {key: _series(rounds, key) for key in keys}
        series = {key: entry for key, entry in series.items() if len(entry[0]) > 1}
        if series:
            pairs.append((name, pictures.lines(series, "round", "loss", f"Training of {name}")))
    return [drawn(*pairs)] if pairs else []


def _series(rounds: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = []
    for place, entry in enumerate(rounds, start=1):
        if isinstance(entry.get(key), int | float):
            found.append((entry.get("epoch", entry.get("round", place)), entry[key]))
    return [float(x) for x, _ in found], [float(y) for _, y in found]


def _choices(models: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Threads, precision, steps, rounds and the like of each candidate's first fit; what is left open or empty says nothing."""
    rows = [
        [
            name,
            ", ".join(f"{key.replace('_', ' ')}: {cell(value)}" for key, value in choices.items() if value not in (None, [], "")),
        ]
        for name, choices in models.items()
    ]
    return [table(["candidate", "its first fit"], rows)]


def anything(entry: Any) -> list[Block]:
    """A table, a list or pairs, whatever fits."""
    if isinstance(entry, Mapping):
        inner = list(entry.values())
        if len(inner) > 1 and all(isinstance(item, Mapping) and list(item) == list(inner[0]) for item in inner):
            return _records([{"": name, **item} for name, item in entry.items()])
        return [table([], [[key.replace("_", " "), value] for key, value in _flat(entry)])]
    if isinstance(entry, list) and entry and all(isinstance(item, Mapping) for item in entry):
        return _records(entry)
    if isinstance(entry, list):
        return [{"kind": "list", "entries": [cell(item) for item in entry]}]
    return [text(cell(entry))]


def _records(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [table([key.replace("_", " ") for key in keys], [[row.get(key) for key in keys] for row in rows])]


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, entry in record.items():
        found += _flat(entry, f"{prefix}{key}: ") if isinstance(entry, Mapping) else [(f"{prefix}{key}", entry)]
    return found


_USED = ("profit_curve", "training_seconds", "serving_seconds")
"""Facts that the value block has used."""


def _cross_validation(found: Mapping[str, Any]) -> list[Block]:
    """Every metric over the folds: each row judged by models that never saw it."""
    blocks = []
    for entry in found["metrics"].values():
        rows = [[name, wording.interval(each), each["spread"]] for name, each in entry["candidates"].items()]
        marks = ["strong" if name == found["chosen"] else "" for name in entry["candidates"]]
        caption = f"{entry['title']}; {found['rows']:,} rows in {found['folds']} folds; in brackets the 95 % interval"
        blocks.append(table(["candidate", entry["title"], "spread of the folds"], rows, marks, caption))
    words = f'Of "{found["output"]}", over training and validation rows, each by models that never saw it. '
    return [note(words + "The packaged model itself is judged by the test rows above."), *blocks]


def forecast(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What one fit was expected to take, written before it began, beside what it took (`lode/model/planning/reconcile.py`)."""
    lines = []
    for row in rows:
        band = "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"
        error = "" if row["error"] is None else f"{row['error']:+.0%}"
        within = {True: "yes", False: "no", None: ""}[row["within"]]
        lines.append(
            [" ".join(part for part in (row["figure"], row["unit"]) if part), row["forecast"], band, row["actual"], error, within]
        )
    words = "Of the first fit. Memory is that of the whole stage. Without a trial a step's time is a band: `lode plan --trial` measures it."
    return [table(["figure", "forecast", "band", "actual", "error", "in the band"], lines), note(words)]


_FACTS: dict[str, tuple[str, Callable[[Any], list[Block]]]] = {
    "selection": ("How it was chosen", _selection),
    "inputs_kept": ("Which inputs were kept", anything),
    "directions": ("Numbers reduced to directions", anything),
    "cross_validation": ("Cross-validated", _cross_validation),
    "learning_curve": ("Would more data help?", curve_page.blocks),
    "history": ("Training", _history),
    "choices": ("What training settled by itself, or was told", _choices),
    "costs": ("What it costs", anything),
    "seconds": ("Time, in seconds", anything),
    "hardware": ("Made on", anything),
    "inferred": ("What was inferred from the data", anything),
    "notes": ("Notes", anything),
}
