"""The quality page: profile and findings as one HTML file that opens offline, the same as JSON, and as lines for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lode.pipeline import charts
from lode.pipeline.pictures import label
from lode.pipeline.state import read_json, write_bytes

MAX_LINES = 40
_OPEN_COLUMNS = 12
"""So many columns are shown unfolded."""
_MAX_CELL = 32
_NUM_SAMPLES = 3
_SEVERITIES = ("error", "warning", "info")


def render(profile: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], folder: Path, name: str) -> Path:
    """Write profile.json, quality.json and quality.html into the folder; returns the path of the page. Same profile, same bytes."""
    for file, record in (("profile.json", profile), ("quality.json", {"findings": list(findings)})):
        write_bytes(folder / file, (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    write_bytes(folder / "quality.html", html(profile, findings, name).encode("utf-8", "replace"))
    return folder / "quality.html"


def read(folder: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The profile and the findings that `render` wrote. Errors: ArtifactError."""
    return read_json(Path(folder) / "profile.json"), read_json(Path(folder) / "quality.json")["findings"]


def html(profile: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], name: str) -> str:
    """The page. Every word of the data is escaped; pictures are inside; no script, nothing to fetch."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lode.pipeline", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = {severity: sum(item["severity"] == severity for item in findings) for severity in _SEVERITIES}
    return environment.get_template("quality.html.jinja").render(
        name=label(name, 80),
        profile=profile,
        findings=findings,
        counts=counts,
        columns=[_column(place, word, record, profile) for place, (word, record) in enumerate(profile["columns"].items())],
        unfolded=len(profile["columns"]) <= _OPEN_COLUMNS,
        classes=_classes(profile),
        missing=charts.missing_map(profile["missing_map"]) if profile["missing_map"] else None,
        changes=[_change(item) for item in profile["cleaning"]],
    )


def _printable(value: Any) -> Any:
    """Words of the data without control characters, which no page may hold and some of which turn the order of the others around."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else " " for char in value)


def _column(place: int, name: str, record: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one column."""
    pictures = []
    totals = {**profile["rows"], "sample": profile["sample"]["rows"]}
    if record.get("histogram"):
        pictures.append((_histogram_caption(record), _histogram(record)))
    if record.get("top") and record["kind"] != "number":
        what = "Most frequent" if record["top_exact"] else "Most frequent in the sample"
        pictures.append((what, charts.words(record["top"], totals)))
    relation = record.get("relation")
    if relation and len(relation["bins"]) > 1:
        two = len(relation.get("classes", ())) == 2
        what = f"Share of {label(relation['classes'][1], 20)}" if two else label(profile["target"]["name"], 40)
        pictures.append((f"{what} by {label(name, 40)}", charts.relation(relation)))
    return {
        "anchor": f"c{place}", "name": label(name, 80), "role": record["role"], "type": record["type"],
        "missing": _percent(record["missing"]["share"]), "distinct": distinct(record), "range": spread(record),
        "relation": strength(record), "drift": _drift(record), "facts": _facts(record), "pictures": pictures,
    }  # fmt: skip


def _histogram(record: Mapping[str, Any]) -> Any:
    found = record["histogram"]
    return charts.histogram(found["edges"], found["rows"], _value(found["edges"][0], record), _value(found["edges"][-1], record))


def _histogram_caption(record: Mapping[str, Any]) -> str:
    what = {"text": "Characters", "bytes": "Bytes"}.get(record["kind"], "Distribution")
    outside = sum(record["histogram"]["below"].values()), sum(record["histogram"]["above"].values())
    beyond = [f"{rows:,} rows {side}" for rows, side in zip(outside, ("below", "above"), strict=True) if rows]
    return f"{what}{' (' + ', '.join(beyond) + ')' if beyond else ''}: training filled, test as a line"


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each plain figure."""
    facts = [
        ("rows", f"{record['rows']:,}"),
        ("missing", f"{record['missing']['rows']:,} ({_percent(record['missing']['share'])})"),
    ]
    if "distinct" in record:
        facts.append(("different values", distinct(record)))
    if record.get("low") is not None:
        unit = {"text": " characters", "bytes": " bytes"}.get(record["kind"], "")
        facts.append(("range", f"{_value(record['low'], record)} to {_value(record['high'], record)}{unit}"))
        if record["kind"] != "date":
            facts += [("mean", _number(record["mean"])), ("standard deviation", _number(record["std"]))]
    if "quantiles" in record:
        exact = "" if record["quantiles_exact"] else ", of the sample"
        shown = ", ".join(_value(record["quantiles"][key], record) for key in ("0.05", "0.25", "0.5", "0.75", "0.95"))
        facts.append((f"quantiles 5, 25, 50, 75, 95 %{exact}", shown))
    if record.get("zeros"):
        facts.append(("zeros", f"{record['zeros']:,}"))
    if record.get("relation"):
        facts.append(("tells of the target, alone", strength(record)))
    facts += [
        (f"{part} against training", _drift_words(record, figures))
        for part, figures in (record.get("drift") or {}).items()
        if figures
    ]
    if record.get("personal"):
        facts.append(("personal data", ", ".join(f"{kind} in {share:.1%}" for kind, share in record["personal"].items())))
    if "pictures" in record:
        found = record["pictures"]
        facts.append(
            (
                f"sizes of {found['looked_at']:,} pictures",
                ", ".join(f"{size} ({rows})" for size, rows in list(found["sizes"].items())[:8]),
            )
        )
        facts.append(("formats", ", ".join(f"{word} ({rows})" for word, rows in found["formats"].items())))
    return facts


def _drift_words(record: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    word = "total variation" if record["kind"] == "word" else "KS"
    return f"PSI {figures['psi']:.3f} (by chance {figures['chance']:.3f}), {word} {figures['distance']:.3f}"


def _classes(profile: Mapping[str, Any]) -> dict[str, Any] | None:
    target = profile["target"]
    if target is None or not target["classes"]:
        return None
    rows = [
        {"name": label(word, 60), "colour": charts.swatch(code), "rows": counts}
        for code, (word, counts) in enumerate(target["classes"].items())
    ]
    return {"picture": charts.classes(target["classes"]), "rows": rows, "target": target["name"]}


def _change(item: Mapping[str, Any]) -> dict[str, Any]:
    samples = [
        f"row {sample['row']:,}: {_quoted(sample['before'])} became {_quoted(sample['after'])}"
        + (f" ({label(sample['why'], 60)})" if sample["why"] and sample["why"] != item["cleaner"] else "")
        for sample in item["samples"][:_NUM_SAMPLES]
        if item["column"] is not None
    ]
    what = "rows dropped" if item["column"] is None else label(item["column"], 60)
    return {**item, "what": what, "where": item["split"] or "all rows", "shown": samples}


def _quoted(text: str | None) -> str:
    return "an empty cell" if text is None else f'"{label(text, 60)}"'


def distinct(record: Mapping[str, Any]) -> str:
    """`1,234`, with a mark where it is an estimate."""
    if "distinct" not in record:
        return ""
    return f"{'' if record['distinct']['exact'] else 'about '}{record['distinct']['values']:,}"


def spread(record: Mapping[str, Any]) -> str:
    """The range of numbers, dates and lengths; the most frequent word of others."""
    if record.get("low") is not None:
        unit = {"text": " characters", "bytes": " bytes"}.get(record["kind"], "")
        return f"{_value(record['low'], record)} to {_value(record['high'], record)}{unit}"
    top = record.get("top")
    if not top or sum(top[0]["rows"].values()) < 2:
        return ""
    known = max(record["rows"] - record["missing"]["rows"], 1)
    share = f" ({100 * sum(top[0]['rows'].values()) / known:.0f} %)" if record["top_exact"] else ""
    return f"{label(top[0]['value'], _MAX_CELL)}{share}"


def strength(record: Mapping[str, Any]) -> str:
    """`AUC 0.71` or `R2 0.32`."""
    relation = record.get("relation")
    return f"{relation['measure'].upper()} {relation['power']:.2f}" if relation else ""


def _drift(record: Mapping[str, Any]) -> str:
    figures = (record.get("drift") or {}).get("test")
    return f"{figures['psi']:.2f}" if figures else ""


def _percent(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _value(value: float, record: Mapping[str, Any]) -> str:
    if record["kind"] != "date":
        return _number(value)
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    return f"{day:%Y-%m-%d}" if record["high"] - record["low"] > 86_400e6 else f"{day:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.0f}"
        if abs(value) >= 10_000 and value == round(value)
        else f"{value:,.4g}"
        if abs(value) < 1e15
        else f"{value:.3g}"
    )


def table(profile: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Header and one line a column: name, type, missing, distinct, range or most frequent, relation; at most MAX_LINES columns."""
    head = ("column", "type", "missing", "distinct", "range or most frequent", "power")
    lines = [
        (label(name, _MAX_CELL), record["type"] if record["role"] != "output" else f"{record['type']} (output)",
         _percent(record["missing"]["share"]), distinct(record), spread(record), strength(record))
        for name, record in list(profile["columns"].items())[:MAX_LINES]
    ]  # fmt: skip
    return [head, *lines]
