"""What the verbs run, data, train, evaluate and package share: the same file, the same options, another last stage."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, add_spec, check_spec, runs_folder
from lode.cli.progress import ProgressBar


def add(parser: argparse.ArgumentParser) -> None:
    """The file, where data and results are."""
    add_spec(parser)
    add_runs(parser)


def run(args: argparse.Namespace, until: Any) -> dict[str, Any]:
    """Do the stages up to `until`."""
    check_spec(args)
    from lode.pipeline.run import run as run_stages

    with ProgressBar(silent=args.json) as progress:
        done = run_stages(args.spec, data=args.data, runs=runs_folder(args), until=until, progress=progress, say=progress.say)
    result = done.to_json()
    if "evaluate" in done.folders:
        result["summary"] = summary_of(done.report)
        result["report"] = str(done.runs / "runs" / done.id / "report.html")
    return result


def summary_of(report: dict[str, Any]) -> str:
    """The report in a few lines."""
    if "kind" in report:  # what a language model reads
        from lode.pipeline.language.report import summary as of_language

        return of_language(report)
    from lode.pipeline.report import summary

    return summary(report)


def show(result: dict[str, Any]) -> str:
    """The report's summary, or how far it came; then what to do next."""
    lines = []
    stages = result["stages"]
    if "summary" in result:
        lines += [result["summary"], "", f"report    {result['report']}"]
    elif "train" in stages:
        lines += [f"trained   {stages['train']['result']['chosen']} (next: lode evaluate)"]
    elif "data" in stages:
        rows = stages["data"]["result"]["rows"]
        counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        lines += [f"snapshot  {stages['data']['folder']} ({counts})", "next      lode train"]
    if "package" in stages:
        made = stages["package"]["result"]
        same = "" if made["new"] and not stages["package"]["cached"] else " (unchanged)"
        lines += [
            f"model     {made['name']} version {made['version']}{same}, hash {made['hash'][:16]}",
            f"next      lode serve {made['name']}",
        ]
    return "\n".join(lines)
