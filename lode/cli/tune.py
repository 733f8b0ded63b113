"""Search for better options: trials on the snapshot, judged on validation rows; the best file is written beside this one."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lode.cli.options import add_runs, add_spec, check_spec, runs_folder
from lode.cli.progress import ProgressBar
from lode.core import packages
from lode.core.errors import SpecError

_METHODS = ("tpe", "random", "grid", "gp", "hyperband", "asha")


def add(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    add_runs(parser)
    parser.add_argument("--method", choices=_METHODS, help="how to search (default: tune.method of the file, else tpe)")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all (default: tune.trials, else 30)")
    parser.add_argument("--budget", metavar="SPAN", help="stop after a time such as 30m, or money such as '5 EUR'")
    parser.add_argument("--processes", type=int, metavar="N", help="processes that work on the study side by side here")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where the best file goes (default: lode.best.yaml beside it)"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> dict[str, Any]:
    check_spec(args)
    try:
        from lode.pipeline import study, tuned
    except ModuleNotFoundError as error:
        raise packages.missing("lode tune", error) from error
    output = args.output or args.spec.with_name(f"{args.spec.stem}.best.yaml")
    if output.resolve() == args.spec.resolve():
        raise SpecError(f"--output: found {output}, the file that is tuned, allowed: another one. Its comments would be lost.")
    named = {"method": args.method, "trials": args.trials, "budget": args.budget, "processes": args.processes}
    changes = study.checked({name: value for name, value in named.items() if value is not None})
    with ProgressBar(silent=args.json or args.worker) as progress:
        found = study.Study.open(args.spec, args.data, runs_folder(args), changes, progress, progress.say)
        with ExitStack() as ends:
            helpers = [] if args.worker else [_helper(args) for _ in range(found.options.processes - 1)]
            for helper in helpers:
                ends.callback(helper.terminate)  # nothing to one that has ended
            found.work_on()
            failed = [code for helper in helpers if (code := helper.wait())]
        if failed:
            progress.say(f"tune: {len(failed)} of {len(helpers)} processes beside this one failed; what they said stands above")
    if args.worker:
        return {"study": str(found.folder)}
    return tuned.finish(found, output)


def _helper(args: argparse.Namespace) -> subprocess.Popen[bytes]:
    """The same command in another process, without a word; it joins the study."""
    words = ["tune", str(args.spec), "--runs", str(runs_folder(args)), "--worker"]
    named = {"--data": args.data, "--method": args.method, "--trials": args.trials, "--budget": args.budget}
    words += [word for name, value in named.items() if value is not None for word in (name, str(value))]
    return subprocess.Popen([sys.executable, "-m", "lode", *words], stdout=subprocess.DEVNULL)


def show(result: dict[str, Any]) -> str:
    """The best trials, what mattered, what to do next."""
    if "best" not in result:
        return str(result["study"])
    best, lines = result["best"], []
    figure = f"{best['score']:.4g} [{best['low']:.4g}, {best['high']:.4g}] {result['metric']}"
    lines.append(f"best      {figure} after {result['judged']} trials ({result['given_up']} given up, {result['refused']} refused)")
    lines += [f"          {name}: {value}" for name, value in best["values"].items()]
    if result["importance"]:
        ranked = ", ".join(f"{name} {share:.0%}" for name, share in list(result["importance"].items())[:5])
        lines.append(f"mattered  {ranked}")
    # Paths in the best file are those of the file that was tuned.
    beside = "" if Path(result["output"]).parent == Path(result["file"]).parent else f" --data {Path(result['file']).parent}"
    lines += [f"report    {result['report']}", f"next      lode run {result['output']}{beside}"]
    return "\n".join(lines)
