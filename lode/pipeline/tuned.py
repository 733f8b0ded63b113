"""What a study found: the best file, which options mattered, and a page with pictures beside the study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from lode.core.errors import ModelError
from lode.core.search import applied
from lode.pipeline import tune_pictures as pictures
from lode.pipeline.page import drawn, note, table
from lode.pipeline.pictures import Picture
from lode.pipeline.report import page
from lode.pipeline.sections import Section
from lode.pipeline.state import write_bytes, write_json
from lode.pipeline.study import Study
from lode.pipeline.wording import number

_MIN_TRIALS = 4
"""With fewer, nothing can be said of what mattered."""
_SHOWN = 20


def finish(study: Study, output: Path) -> dict[str, Any]:
    """Write the best file, `tune.json` and `tune.html`; returns the record of the study.

    Errors: ModelError where no trial could be judged.
    """
    judged = [trial for trial in study.done if trial.state == TrialState.COMPLETE]
    if not judged:
        reasons = [str(trial.user_attrs["refused"]) for trial in study.done if "refused" in trial.user_attrs]
        why = f" The first of {len(reasons)} refusals: {reasons[0]}" if reasons else " The budget was spent before."
        raise ModelError(f"{study.path}: no trial could be judged.{why} Search other values, or give more time.")
    best = study.kept.best_trial
    record = {
        "file": str(study.path), "study": str(study.folder), "name": study.work.spec.name, "method": study.options.method,
        "metric": best.user_attrs["metric"],
        "direction": study.kept.direction.name.lower(), "judged": len(judged),
        "given_up": sum(trial.state == TrialState.PRUNED for trial in study.done),
        "refused": sum("refused" in trial.user_attrs for trial in study.done),
        "best": _entry(best), "cheapest": _entry(_cheapest(judged, best, study)), "importance": _importance(study, judged),
        "trials": [_entry(trial) for trial in judged], "output": str(output), "report": str(study.folder / "tune.html"),
    }  # fmt: skip
    write_best(study, best, output)
    write_json(study.folder / "tune.json", record)
    write_bytes(study.folder / "tune.html", page(_page(record)).encode())
    return record


def write_best(study: Study, best: FrozenTrial, output: Path) -> None:
    """The file with the best trial's values in it; comments of the original are not kept."""
    by_name = {item.name: item for item in study.dimensions}
    values = [(by_name[name], value) for name, value in best.user_attrs["values"]]
    tree = json.loads(json.dumps(applied(study.tree, values), default=str))
    line = f"# {study.path.name} with the best of {len(study.done)} trials of `lode tune` ({study.options.method})."
    text = f"{line}\n{yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)}"
    write_bytes(output, text.encode())


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    facts = trial.user_attrs
    return {"trial": trial.number, "score": trial.value, "low": facts["low"], "high": facts["high"], "seconds": facts["seconds"],
            "values": dict(facts["values"]), **{name: facts["cost"][name] for name in ("parameters", "flops_per_row")}}  # fmt: skip


def _cheapest(judged: Sequence[FrozenTrial], best: FrozenTrial, study: Study) -> FrozenTrial:
    """The trial with the fewest operations per row whose figure lies within the interval of the best one."""
    upward = study.kept.direction == optuna.study.StudyDirection.MAXIMIZE
    bound = best.user_attrs["low"] if upward else best.user_attrs["high"]
    near = [trial for trial in judged if trial.value is not None and (trial.value >= bound if upward else trial.value <= bound)]
    return min(near or [best], key=lambda trial: (trial.user_attrs["cost"]["flops_per_row"], trial.number))


def _importance(study: Study, judged: Sequence[FrozenTrial]) -> dict[str, float]:
    """Share of the spread among good trials that each option explains (PED-ANOVA, Watanabe 2023, arXiv 2304.10255), largest first."""
    if len(judged) < _MIN_TRIALS or len({trial.value for trial in judged}) < 2:
        return {}
    shared = set.intersection(*(set(trial.params) for trial in judged))
    varied = [name for name in shared if len({str(trial.params[name]) for trial in judged}) > 1]
    if not varied:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study.kept, evaluator=evaluator, params=sorted(varied))
    return {name: float(share) for name, share in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))}


def _page(record: Mapping[str, Any]) -> dict[str, Any]:
    """The page as the report's template takes it."""
    best = record["best"]
    figure = f"{number(best['score'])} [{number(best['low'])}, {number(best['high'])}]"
    sections = [
        Section("What was found", _found(record)),
        Section("What mattered", _mattered(record)),
        Section("Every option", [drawn(*_scatter(record))]),
        Section("Trials", _trials(record)),
    ]
    counts = f"{record['judged']} trials judged, {record['given_up']} given up, {record['refused']} refused"
    return {
        "title": f"{record['name']}: tuning", "headline": f"The best of {record['judged']} trials reaches {record['metric']} {figure}.",
        "learnt": True, "facts": f"Method {record['method']}. {counts}.", "warnings": [_warning()], "sections": sections,
        "footer": "Figures are those of rows that the trial's fits did not see; the test rows were not looked at. "
        "The same figures, for programs, are in tune.json.",
    }  # fmt: skip


def _warning() -> str:
    return (
        "The best of many looks better than it is: its figure is chosen on the rows that it is shown for. "
        "`lode run` on the best file says what it does on test rows."
    )


def _found(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [[title, entry["trial"], _figure(entry), entry["parameters"], entry["flops_per_row"], _values(entry)]
            for title, entry in (("best", record["best"]), ("cheapest within its interval", record["cheapest"]))]  # fmt: skip
    header = ["", "trial", record["metric"], "parameters", "operations per row", "values"]
    lines = [(entry["trial"], entry["score"]) for entry in record["trials"]]
    picture = pictures.progress(lines, record["metric"], record["direction"] == "maximize")
    return [table(header, rows, ["strong", ""]), drawn(("The best so far, trial by trial.", picture))]


def _mattered(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not record["importance"]:
        return [note("Too few trials, or too few options that all of them share, to say.")]
    picture = pictures.importance(record["importance"])
    return [drawn(("Which options decide whether a trial is good (PED-ANOVA).", picture))]


def _scatter(record: Mapping[str, Any]) -> list[tuple[str, Picture]]:
    names = list(dict.fromkeys(name for entry in record["trials"] for name in entry["values"]))
    found = []
    for name in names[:_SHOWN]:
        pairs = [(entry["values"][name], entry["score"]) for entry in record["trials"] if name in entry["values"]]
        found.append((name, pictures.tried(pairs, name, record["metric"])))
    return found


def _trials(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    sign = -1.0 if record["direction"] == "maximize" else 1.0
    ranked = sorted(record["trials"], key=lambda entry: (sign * entry["score"], entry["trial"]))[:_SHOWN]
    rows = [[entry["trial"], _figure(entry), entry["seconds"], _values(entry)] for entry in ranked]
    return [
        table(["trial", record["metric"], "seconds", "values"], rows, caption=f"the best {len(rows)} of {len(record['trials'])}")
    ]


def _figure(entry: Mapping[str, Any]) -> str:
    return f"{number(entry['score'])} [{number(entry['low'])}, {number(entry['high'])}]"


def _values(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {number(value) if isinstance(value, float) else value}" for name, value in entry["values"].items())
