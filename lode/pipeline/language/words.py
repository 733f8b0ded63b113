"""The evaluation of a language model in words: headline, warnings, terminal summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lode.pipeline.report import ascii_line
from lode.pipeline.wording import alike, interval, number

SUMMARY_LINES = 25
_FEW_UNITS = 30
_SHARES = ("accuracy", "reward_accuracy")


def kept(report: Mapping[str, Any]) -> str:
    """What the texts are that the model is judged on."""
    return "training" if report["split"] == "train" else "held-out"


def headline(report: Mapping[str, Any]) -> str:
    """What it reaches and against what; or that nothing was learnt."""
    made = {"text": _of_texts, "chat": _of_answers, "pairs": _of_pairs}[report["kind"]](report)
    return made if report["learnt"] else f"Nothing was learnt: {made[:1].lower()}{made[1:]}"


def _of_texts(report: Mapping[str, Any]) -> str:
    loss, judged = report["metrics"]["loss"], report["judged"]
    value, low, high = alike(loss["value"], loss["low"], loss["high"])
    bits = number(report["metrics"]["bits_per_byte"]["value"])
    made = f"On {judged['tokens']:,} {kept(report)} tokens the model's loss is {value} nats per token (95 % interval {low} to {high}), "
    return f"{made}{bits} bits per byte{_beside(report)}."


def _beside(report: Mapping[str, Any]) -> str:
    best = report["best_baseline"]
    if best is None:
        return ""
    other = number(report["metrics"]["loss"]["baselines"][best]["value"])
    who = "the model that it started from" if best == "start" else f"the best n-gram model ({best})"
    return f"; {who} needs {other}: {verdict(report['against'][best])}"


def verdict(gain: Mapping[str, Any]) -> str:
    """The paired difference in words; better counted positive."""
    low, high = gain["low"], gain["high"]
    if low is not None and low > 0:
        return "the model is clearly better"
    return "the model is clearly worse" if high is not None and high < 0 else "no clear difference"


def _of_answers(report: Mapping[str, Any]) -> str:
    loss, judged = report["metrics"]["loss"], report["judged"]
    made = f"On {judged['documents']:,} {kept(report)} conversations ({judged['tokens']:,} tokens of answers) the loss is "
    gain = report["against"].get("start")
    if gain is None:
        value, low, high = alike(loss["value"], loss["low"], loss["high"])
        return f"{made}{value} nats per token (95 % interval {low} to {high}){_beside(report)}."
    less, low, high = alike(gain["value"], gain["low"], gain["high"])
    before, now = number(loss["baselines"]["start"]["value"]), number(loss["value"])
    return f"{made}{now} nats per token, {before} before training: {less} less (95 % interval {low} to {high}), {verdict(gain)}."


def _of_pairs(report: Mapping[str, Any]) -> str:
    metrics, pairs = report["metrics"], report["judged"]["units"]
    share = metrics["accuracy"]
    made = f"Of {pairs:,} {kept(report)} pairs the model finds the chosen answer likelier in {_share(share)}"
    before = share["baselines"].get("start")
    if before is None:
        return f"{made}; a coin would in 50 %."
    reward = metrics["reward_accuracy"]
    made += f", the model that it started from in {100 * before['value']:.1f} %: {verdict(report['against']['start'])}"
    return f"{made}. Against its start it moved towards the chosen answer in {_share(reward)} of them."


def _share(found: Mapping[str, Any]) -> str:
    return "{:.1f} % (95 % interval {:.1f} to {:.1f})".format(*(100 * found[key] for key in ("value", "low", "high")))


def beside_chance(low: float, high: float, chance: float) -> str:
    """A share of right answers held against guessing."""
    if not chance:
        return "better than none" if low > 0.0 and high > 0 else "none right"
    if low > chance:
        return "better than guessing"
    return "worse than guessing" if high < chance else "no better than guessing"


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the figures."""
    judged, found = report["judged"], []
    if report["split"] == "train":
        found.append("nothing was held out: the model is judged on what it learned from, which says nothing of other texts.")
    elif report["split"] != "test":
        found.append(f"there is no test split: the {report['split']} split is judged, by which training also chose its best state.")
    if judged["units"] < _FEW_UNITS:
        found.append(f"the intervals rest on {judged['units']} units ({judged['unit']}), so they are rough.")
    best = report["best_baseline"]
    if best not in (None, "start") and verdict(report["against"][best]) == "the model is clearly worse":
        gap = number(-report["against"][best]["value"])
        better = f"a table of counts ({best}) foretells these texts better than the model, by {gap} nats per token"
        found.append(f"{better}: train longer, or a larger model with a longer context.")
    if report["kind"] == "pairs" and report["learnt"] and report["against"]:
        found += _moved_only(report)
    memorised = report.get("memorised")
    if memorised and memorised["most"] >= max(50, 2 * memorised["held_out_most"]):
        found.append(
            f"a sample repeats {memorised['most']:,} tokens of the training texts word for word; people do so for "
            f"{memorised['held_out_most']:,} at most. Remove duplicates, or train for fewer epochs."
        )
    return found


def _moved_only(report: Mapping[str, Any]) -> list[str]:
    """Preferences may be learnt by what the answers gained, while the chosen ones are likelier no more often than before."""
    if verdict(report["against"]["start"]) == "the model is clearly better":
        return []
    share, reward = report["metrics"]["accuracy"], report["metrics"]["reward_accuracy"]
    before, now = (100 * each["value"] for each in (share["baselines"]["start"], share))
    return [
        f"that something was learnt rests on the reward accuracy alone ({_share(reward)}): the chosen answer gained more than the "
        f"rejected one, but is not clearly more often the likelier one ({before:.1f} % before, {now:.1f} % now)."
    ]


def summary(report: Mapping[str, Any]) -> str:
    """At most 25 lines of plain ASCII: headline, figures beside the baseline, questions, warnings."""
    best = report["best_baseline"]
    rows = [("", "", f"baseline {best}")] if best else []
    for word, entry in report["metrics"].items():
        other = entry["baselines"].get(best)
        rows.append((entry["title"], figure(word, entry), figure(word, other) if other else "-"))
    rows += [
        (task["title"], figure("accuracy", task), f"{100 * task['chance']:.1f} % by guessing" if task["chance"] else "-")
        for task in report["tasks"]
    ]
    widths = [max(len(ascii_line(row[place])) for row in rows) for place in range(3)]
    lines = ["  ".join(ascii_line(part).ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    found = [ascii_line(report["headline"]), "", *lines[: SUMMARY_LINES - 8]]
    warned = [f"warning: {ascii_line(text)}" for text in report["warnings"]]
    return "\n".join([*found, *(["", *warned] if warned else [])][:SUMMARY_LINES])


def figure(word: str, entry: Mapping[str, Any]) -> str:
    """A figure with its interval; shares in per cent."""
    if word not in _SHARES:
        return interval(entry)
    if entry["value"] is None or not math.isfinite(entry["value"]):
        return "undefined"
    return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * entry[key] for key in ("value", "low", "high")))
