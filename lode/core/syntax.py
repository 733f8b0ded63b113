"""The syntax tree of one of lode's own files, read without importing it. Used by `core.signature` and `cli.main`."""

import ast
import functools
from pathlib import Path

_ATTEMPTS = 5


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree, parsed once per process.

    CPython below 3.12 keeps one counter for the depth of all trees under construction: where another thread parses at the
    same time (a library that reads its own source is enough), it raises a false `SystemError` (gh-106905). The same call
    again is right, so it is made a few times before the error is let through.
    """
    source = path.read_text(encoding="utf-8")
    for _ in range(_ATTEMPTS - 1):
        try:
            return ast.parse(source, filename=str(path))
        except SystemError:
            continue
    return ast.parse(source, filename=str(path))
