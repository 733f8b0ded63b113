"""The command `lode`: finds the verb's file, parses, runs, prints. One file per verb beside this one; only the verb asked for is imported.

Exit codes: 0 done, 2 the user's mistake (no traceback), 1 ours (with traceback), 130 interrupted. With --json stdout holds one object.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import contextlib
import errno
import gc
import importlib
import io
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from lode.core import disk
from lode.core.allocation import keep_freed_memory
from lode.core.errors import LodeError, near_miss
from lode.core.syntax import tree_of

_FOLDER = Path(__file__).resolve().parent
_INTERRUPTED, _PIPE_CLOSED = 130, 141
_NO_NUMBER = re.compile(r"argument (.+): invalid (int|float) value: '(.*)'", re.DOTALL)
_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE)
"""What the machine refuses is neither a mistake in the file nor one of ours: a plain message, exit 2."""


class UsageError(LodeError):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting, so that --json holds for wrong command lines too."""

    def error(self, message: str) -> NoReturn:
        if found := _NO_NUMBER.fullmatch(message):
            kind = "a whole number" if found[2] == "int" else "a number"
            message = f'found "{found[3]}" for {found[1].rpartition("/")[2]}, allowed: {kind}'
        wanted = "the following arguments are required: "
        if message.startswith(wanted):
            chosen = [action for action in self._actions if action.required and action.choices and not action.option_strings]
            words = "".join(f"; {_title(action)} is one of {', '.join(map(str, action.choices or ()))}" for action in chosen)
            message = f"found no {message.removeprefix(wanted)}, which is needed{words}"
        raise UsageError(f"{self.prog}: {message}{'' if message.endswith('?') else '.'} See `{self.prog} --help`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """In our words, with the nearest one: argparse's differ between versions of Python."""
        allowed = [str(choice) for choice in action.choices or ()]
        if allowed and str(value) not in allowed:
            told = f'found "{value}" for {_title(action)}, allowed: {", ".join(allowed)}.{near_miss(str(value), allowed)}'
            self.error(told.rstrip("."))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Also of an action of a verb (`lode keys create`): what it does not take is refused with its own options beside it."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            options = [name for action in self._actions for name in action.option_strings]
            raise UsageError(
                f'{self.prog}: found "{left[0]}", which it does not take.{near_miss(left[0], options)} See `{self.prog} --help`.'
            )
        return found, left


def _title(action: argparse.Action) -> str:
    """How a person knows an argument."""
    return action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    # At its end Python looks for cycles among all that was loaded, for memory that goes anyway: with torch 0.3 s of every command.
    atexit.register(gc.freeze)
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    keep_freed_memory()  # before a verb imports polars
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no Chinese is no reason to fail
    try:
        return _guarded(words, as_json)
    except BrokenPipeError:
        # The reader went away (`lode runs | head`). Nothing may be written at exit either.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED


def _guarded(words: list[str], as_json: bool) -> int:
    known: list[argparse.Namespace] = []
    try:
        return _dispatch(words, known.append)
    except LodeError as error:
        _complain(error, str(error), as_json)
        return 2
    except KeyboardInterrupt:
        _complain(KeyboardInterrupt(), "interrupted; the same command goes on where it stopped", as_json)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (one of the two places where everything is caught: what is left is our fault)
        if disk.is_full(error):
            named = error.filename if isinstance(error, OSError) else None
            _complain(error, str(disk.full_error(Path(named or Path.cwd()), None)), as_json)
            return 2
        if isinstance(error, OSError) and error.errno in _MACHINE:
            _complain(error, f"{error.filename or 'the system'}: {(error.strerror or str(error)).lower()}", as_json)
            return 2
        damaged = None if isinstance(error, OSError) else _damage(known[0] if known else None)
        if damaged is not None:
            _complain(damaged, str(damaged), as_json)
            return 2
        traceback.print_exc()
        if as_json:
            _print_error(error, str(error))
        _say("lode: this is our fault, not yours. Please report it with the lines above.")
        return 1


def _dispatch(words: list[str], parsed: Callable[[argparse.Namespace], None]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"lode {_version()}")
        return 0
    if words[0] == "--json":  # before the verb it means the same
        words = [*words[1:], "--json"]
    if words[0].startswith("-"):
        raise UsageError(f'lode: found "{words[0]}", allowed: a verb first, --help or --version. See `lode --help`.')
    verbs = _verbs()
    if words[0] not in verbs:
        near = near_miss(words[0], verbs)
        raise UsageError(f'lode: found the verb "{words[0]}", allowed: {", ".join(verbs)}.{near} See `lode --help`.')
    return _perform(words[0], words[1:], parsed)


def _perform(verb: str, words: list[str], parsed: Callable[[argparse.Namespace], None]) -> int:
    """parsed: told the options, for what is said where the command fails."""
    module = importlib.import_module(f"lode.cli.{verb}")
    parser = _Parser(
        prog=f"lode {verb}", description=module.__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    module.add(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    try:
        args = parser.parse_args(words)
    except SystemExit as done:  # --help has printed
        return int(done.code or 0)
    parsed(args)
    return _print_result(module, args)


def _damage(args: argparse.Namespace | None) -> LodeError | None:
    """What `lode audit verify` says of the books that a command stumbled over; None where it has none, or nothing is wrong with them."""
    if args is None or "books" not in args:
        return None
    _say("lode: something went wrong. First a look at whether the books are whole ...")
    with contextlib.suppress(ModuleNotFoundError):  # signatures need a package
        from lode.app.audit.command import damage
        from lode.cli.options import runs_folder

        return damage(runs_folder(args), args.books)
    return None


def _print_result(module: ModuleType, args: argparse.Namespace) -> int:
    if not args.json:
        print(module.show(module.run(args)), flush=True)
        return 0
    with _quiet_stdout():
        result = module.run(args)
    print(json.dumps(_plain(result), allow_nan=False), flush=True)
    return 0


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Sends everything that is written to stdout meanwhile, by libraries in C too, to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _complain(error: BaseException, message: str, as_json: bool) -> None:
    if as_json:
        _print_error(error, message)
    else:
        _say(message)


def _print_error(error: BaseException, message: str) -> None:
    print(json.dumps({"error": {"type": type(error).__name__, "message": message}}), flush=True)


def _say(message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    """JSON values only: a NaN becomes null, paths and decimals become strings."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _verbs() -> dict[str, str]:
    """Verb -> its one line, read from the files without importing them. A verb's file defines `add`, `run` and `show`."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        tree = tree_of(path)
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if {"add", "run", "show"} <= functions:
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def _overview() -> str:
    verbs = _verbs()
    width = max(len(verb) for verb in verbs)
    lines = [f"  {verb:<{width}}  {line}" for verb, line in verbs.items()]
    return "\n".join(
        (
            "lode: from your own data to a trained, evaluated, valued and served model, with one lode.yaml.",
            "",
            "usage: lode VERB [...]     lode VERB --help     lode --version",
            "",
            *lines,
            "",
            "Every verb takes --json. Exit codes: 0 done, 2 a mistake in the file or the command, 1 a fault of lode.",
        )
    )


def _version() -> str:
    try:
        return metadata.version("lodeml")
    except metadata.PackageNotFoundError:
        return "(not installed)"
