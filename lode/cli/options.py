"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lode.app.books.contracts import Store

SPEC = "lode.yaml"


def add_spec(parser: argparse.ArgumentParser) -> None:
    """`[lode.yaml]` and `--data DIR`: args.spec is a Path (see `spec_path`), args.data a Path or None."""
    parser.add_argument(
        "spec", nargs="?", type=spec_path, default=Path(SPEC), metavar=SPEC,
        help=f"the file, or the folder it lies in (default: {SPEC} here)",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="DIR", help="look here first for the files that lode.yaml names")


def check_spec(args: argparse.Namespace) -> None:
    """A mistake in the file is told at once, not after the seconds that loading torch takes. Errors: SpecError."""
    from lode.core.spec import load

    load(args.spec, args.data)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """`--runs DIR`: args.runs is a Path or None; `runs_folder` says where results lie."""
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where results lie (default: runs, beside lode.yaml)")


def add_books(parser: argparse.ArgumentParser) -> None:
    """`--books LOCATION` and `--runs DIR` (so no `add_runs` beside it): `opened(args)` opens what they name."""
    parser.add_argument(
        "--books", metavar="LOCATION",
        help="where customers, keys and money are kept: a file, or postgresql://USER@HOST:PORT/DATABASE (default: books.sqlite in runs)",
    )  # fmt: skip
    add_runs(parser)


def opened(args: argparse.Namespace, *, make: bool = False) -> Store:
    """What `--books` names, else the books in `--runs`, as a store to be closed: it goes into a `with`.

    make: where there are none. Not by default: in the wrong folder, or with a misspelt name, a customer would seem to have used nothing.
    Errors: BooksError.
    """
    from lode.app.books.open import FILE, open_books
    from lode.core.errors import BooksError

    runs = runs_folder(args)
    path = runs / FILE if args.books is None else Path(args.books)
    if args.books is None or "://" not in args.books:
        if path.is_dir():
            raise BooksError(f"{path}: found a folder, wanted the file of the books, such as {path / FILE}. Name it with --books.")
        if not make and not path.exists():
            raise BooksError(
                f"{path}: found no books here. `lode customers add`, `lode plans add` and `lode serve` make them; "
                "or name those that you have with --books LOCATION or --runs DIR."
            )
    return open_books(args.books, runs)


def spec_path(text: str) -> Path:
    """A file as it was named; for a folder, the lode.yaml in it."""
    path = Path(text)
    return path / SPEC if path.is_dir() else path


def runs_folder(args: argparse.Namespace) -> Path:
    """Where results lie: `--runs`, else `runs` beside the file (beside ./lode.yaml for verbs that take no file)."""
    given: Path | None = args.runs
    if given is not None:
        return given
    spec: Path = getattr(args, "spec", Path(SPEC))
    return spec.parent / "runs"
