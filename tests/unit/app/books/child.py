"""A process that writes as it is told, line by line: `add N`, `limit BYTES` (largest file); says `ok SEQUENCE` or `retry MESSAGE`."""

from __future__ import annotations

import resource
import sys

from lode.core.errors import BooksError
from lode.testing.books import opened, settled
from lode.testing.books_writer import append_one


def main() -> None:
    store = opened(sys.argv[1])
    for line in sys.stdin:
        word, value = line.split()
        if word == "limit":
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(value) if int(value) else hard, hard))
            print("ok 0", flush=True)
            continue
        try:
            print("ok", append_one(store, settled(int(value))), flush=True)
        except BooksError as error:
            assert error.retry_s
            print("retry", error, flush=True)


if __name__ == "__main__":
    main()
