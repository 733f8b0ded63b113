"""A process that writes into books and says what became durable: `python -m lode.testing.books_writer LOCATION NAME COUNT [hang]`.

Prints the sequence of each entry once it is recorded. With `hang` it then writes into a transaction, prints "inside" and waits to be
killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lode.app.books import journal
from lode.app.books.contracts import Act, Entry, Session, Store, Transfer
from lode.app.books.open import open_books


def paid(name: str, number: int) -> Act:
    """One act that moves money."""
    return Act(
        "credit.add", "cli", name, f"{name}-{number}", "a" * 64, (Transfer("cash/EUR", f"customer/{name}/prepaid", 1 + number),)
    )


def append_one(store: Store, act: Act) -> int:
    """The sequence of the act's entry; it is durable."""
    [entry] = store.transact(lambda session: journal.append(session, [act], time.time_ns() // 1000))
    assert isinstance(entry, Entry)
    return entry.sequence


def hang(session: Session) -> None:
    """Write, and never come back."""
    journal.append(session, [paid("killed", number) for number in range(3)], time.time_ns() // 1000)
    sys.stdout.write("inside\n")
    sys.stdout.flush()
    time.sleep(600)


def main() -> None:
    """See above."""
    location, name, count = sys.argv[1:4]
    with open_books(location, Path()) as store:
        for number in range(int(count)):
            sys.stdout.write(f"{append_one(store, paid(name, number))}\n")
            sys.stdout.flush()
        if "hang" in sys.argv:
            store.transact(hang)


if __name__ == "__main__":
    main()
