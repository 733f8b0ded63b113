"""A process of its own that bills every customer of the books named, and says each number as soon as it is durable."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from lode.app.books.open import open_books
from lode.app.invoices import closing, seller

UNTAXED = 'name = "Seller"\naddress = ["Street 1"]\ncountry = "DE"\n'


def main(location: str, now: int) -> None:
    store = open_books(location, Path())
    transact = store.transact

    def told(work: Any) -> Any:
        found = transact(work)
        if isinstance(found, tuple) and isinstance(found[0], dict):
            sys.stdout.write(f"{found[0]['number']}\n")
            sys.stdout.flush()
        return found

    store.transact = told  # type: ignore[method-assign]
    closing.bill_all(store, "cli", seller.of(tomllib.loads(UNTAXED), "seller.toml"), now_us=lambda: now)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
