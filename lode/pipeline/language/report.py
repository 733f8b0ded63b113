"""The report on a language model for people: one HTML file that opens offline and prints, `report.json` beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lode.pipeline import pictures
from lode.pipeline.evaluate import plain
from lode.pipeline.language.words import figure, summary, verdict
from lode.pipeline.page import Block, drawn, heading, note, quoted, table, text
from lode.pipeline.report import page
from lode.pipeline.sections import Section, anything, forecast
from lode.pipeline.state import write_bytes
from lode.pipeline.wording import interval, number

__all__ = ["html", "render", "summary"]

_SHOWN_CHARS = 2000
_STEPS = ("epoch", "round")
_TITLES = {
    "plan": "Forecast and actual",
    "forecast": "Forecast and actual",
    "cost": "What it costs",
    "seconds": "Time, in seconds",
    "hardware": "Made on",
    "notes": "Notes",
}


def render(report: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.json` and `report.html` into the folder; returns the path of the page. Same report, same bytes."""
    record = json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / "report.json", (record + "\n").encode())
    # The page is made from what a reader of report.json gets: what one shows the other has.
    write_bytes(folder / "report.html", html(json.loads(record)).encode())
    return folder / "report.html"


def html(report: Mapping[str, Any]) -> str:
    """The page of an evaluation; every word of the data is escaped."""
    judged = report["judged"]
    documents = ", ".join(f"{count:,} {split}" for split, count in report["rows"].items() if isinstance(count, int))
    facts = [f"Run {report['run']}" if report["run"] else "", f"Documents: {documents}" if documents else ""]
    footer = (
        f"Intervals are 95 % bootstrap intervals over {judged['units']:,} units (a unit: {judged['unit']}; {report['resamples']:,} "
        f"resamples, seed {report['seed']}), those of shares by Wilson's formula. A difference between models is paired: both read the "
        "same tokens. "
        "The same figures, for programs, are in report.json."
    )
    return page(
        {
            "title": f"{report['name']}: evaluation" if report["name"] else "Evaluation",
            "headline": report["headline"],
            "learnt": report["learnt"],
            "facts": ". ".join(part for part in facts if part),
            "warnings": report["warnings"],
            "sections": sections(report),
            "footer": footer,
        }
    )


def sections(report: Mapping[str, Any]) -> list[Section]:
    """Every section that the report has something for."""
    facts = report["facts"]
    found = [
        Section("How well it foretells" if "loss" in report["metrics"] else "What it prefers", _figures(report)),
        Section("Questions with known answers", _tasks(report["tasks"])),
        Section("Is any group foretold worse?", _slices(report["slices"])),
        Section("What it writes", _samples(report)),
        Section("Training", _curve(facts) + _speed(facts)),
        Section("The texts and their tokens", _corpus(facts.get("corpus") or {})),
        Section("Forecast and actual", forecast(facts["forecast"]) if facts.get("forecast") else []),
    ]
    rest = {
        key: entry
        for key, entry in facts.items()
        if key not in ("history", "corpus", "forecast") and entry not in (None, "", [], {})
    }
    for key, title in _TITLES.items():
        if key in rest:
            found.append(Section(title, anything(rest.pop(key))))
    found.append(Section("Also recorded", anything(rest) if rest else []))
    return [section for section in found if section.blocks]


def _figures(report: Mapping[str, Any]) -> list[Block]:
    """The model beside the baselines: a row for each."""
    metrics, judged = report["metrics"], report["judged"]
    names = list(dict.fromkeys(name for entry in metrics.values() for name in entry["baselines"]))
    rows = [["the model", *(figure(word, entry) for word, entry in metrics.items()), ""]]
    for name in names:
        beside = [figure(word, entry["baselines"][name]) if name in entry["baselines"] else "-" for word, entry in metrics.items()]
        gain = report["against"].get(name)
        rows.append([_who(name), *beside, interval(gain) if gain else ""])
    for name, bits in report["compressed"].items():
        rows.append([name, *("-" if word != "bits_per_byte" else number(bits) for word in metrics), ""])
    unit = "the model's gain, nats per token" if "loss" in metrics else "the model's gain, as a share of pairs"
    header = ["", *(entry["title"] for entry in metrics.values()), unit]
    caption = f"{judged['documents']:,} documents, {judged['tokens']:,} tokens judged; in brackets the 95 % interval"
    blocks = [table(header, rows, ["strong", *[""] * (len(rows) - 1)], caption, range(1, len(header)))]
    best = report["best_baseline"]
    if best is not None:
        blocks.append(text(f"Beside {_who(best)}: {verdict(report['against'][best])}."))
    if report["compressed"]:
        words = (
            "An n-gram model is a table of how often each token followed the last few (interpolated Kneser-Ney, the same training "
        )
        words += "tokens). zlib and lzma are programs that pack files: what they need for a part of the held-out text."
        blocks.append(note(words))
    return blocks


def _who(name: str) -> str:
    return "the model that it started from" if name == "start" else name


def _tasks(tasks: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not tasks:
        return []
    rows = [
        [task["title"], task["questions"], figure("accuracy", task), f"{100 * task['chance']:.1f} %" if task["chance"] else "-",
         task["verdict"], task["parts"] or ""]
        for task in tasks
    ]  # fmt: skip
    blocks = [table(["questions of", "asked", "right", "by guessing", "", "left out"], rows, numeric=(1, 2, 3))]
    for task in tasks:
        shown = [[_cut(item[key]) for key in ("question", "wanted", "said")] for item in task["shown"]]
        marks = ["" if item["right"] else "bad" for item in task["shown"]]
        blocks += [heading(task["title"]), table(["question", "wanted", "said"], shown, marks)]
    return blocks


def _slices(slices: Mapping[str, Any]) -> list[Block]:
    rows = [
        [column, item["group"], item["documents"], item["tokens"], interval(item)]
        for column, groups in slices.items()
        for item in groups
    ]
    return (
        [table(["column", "group", "documents", "tokens", "loss, nats per token"], rows[:200], numeric=(2, 3, 4))] if rows else []
    )


def _samples(report: Mapping[str, Any]) -> list[Block]:
    samples = report["samples"]
    if not samples:
        return []
    blocks = [note("Prompt and continuation; the model begins at the bar. Seeds are fixed: nobody chose these.")]
    for sample in samples:
        if "reference" in sample:
            said = f"{sample['prompt']}\n\n>> {sample['text']}\n\n(known answer) {sample['reference']}"
        else:
            said = f"{sample['prompt']}|{sample['text']}"
        blocks.append(quoted(_cut(said), sample["how"]))
    found = report["memorised"]
    if found:
        said = f"The longest passage of these samples that stands word for word in the training texts has {found['most']:,} tokens"
        said += f" ({_cut(found['passage'])!r})" if found["passage"] else ""
        said += f"; of as long pieces of held-out text, which people wrote, {found['held_out_most']:,}."
        blocks += [heading("Is it repeating its training texts?"), text(said)]
    return blocks


def _cut(words: Any) -> str:
    shown = str(words)
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + " ..."


def _corpus(parts: Mapping[str, Any]) -> list[Block]:
    """Every split in tokens; what a word and a byte cost in each language of the training texts."""
    if not parts:
        return []
    keys = ("documents", "tokens", "learned_tokens", "bytes", "tokens_per_word", "tokens_per_byte", "unknown_tokens")
    rows = [[part, *(about.get(key) for key in keys)] for part, about in parts.items()]
    blocks = [table(["split", *(key.replace("_", " ") for key in keys)], rows)]
    languages = parts.get("train", {}).get("languages") or {}
    if languages:
        rows = [[language, *found.values()] for language, found in languages.items()]
        header = ["language", *(key.replace("_", " ") for key in next(iter(languages.values())))]
        blocks.append(table(header, rows, caption="Languages of a sample of the training documents"))
    return blocks


def _speed(facts: Mapping[str, Any]) -> list[Block]:
    """What training did in a second, as far as it was measured."""
    choices = facts.get("choices") or {}
    rate, share = choices.get("tokens_per_s"), choices.get("mfu")
    if rate is None:
        return []
    words = f"{rate:,.0f} tokens a second over the whole training"
    if share is not None:
        words += f", {100 * share:.1f} % of what the machine's matrix products reach (model-FLOPs utilisation)"
    return [text(words + ".")]


def _curve(facts: Mapping[str, Any]) -> list[Block]:
    """Every loss that training noted, over its steps where their number is known."""
    history, every = facts.get("history") or (), (facts.get("choices") or {}).get("judge_steps") or 1
    by = next((key for key in _STEPS if any(key in entry for entry in history)), None)
    series: dict[str, tuple[list[float], list[float]]] = {}
    for place, entry in enumerate(history, start=1):
        for key, value in entry.items():
            if "loss" in key and isinstance(value, int | float):
                x, y = series.setdefault(key.replace("_", " "), ([], []))
                x.append(float(entry.get(by, place) if by else place) * every)
                y.append(float(value))
    series = {name: points for name, points in series.items() if len(points[0]) > 1}
    if not series:
        return []
    name = "step" if every > 1 else by or "round"
    return [drawn(("Loss while training", pictures.lines(series, name, "loss", "Learning curve")))]
