"""Usage as files: CSV, Parquet, FOCUS. One page of rows in memory; a file appears whole or not at all.

Text that a spreadsheet would run (it begins with = + - @ or a control character) gets a `'` in front (OWASP, "CSV injection").
"""

from __future__ import annotations

import csv
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Session, Store
from lode.app.invoices import customers, focus, selection, usage
from lode.core import money
from lode.core.errors import BillingError

TEXTS = (
    "at", "request_id", "organisation", "project", "key", "model", "kind", "plan", "subscription", "period", "provider",
    "currency", "invoice",
)  # fmt: skip
COUNTS = ("version", "status", "requests", *usage.UNITS, "estimated")
COLUMNS = (
    "at", "request_id", "organisation", "project", "key", "model", "version", "status", "kind", "requests", *usage.UNITS, "amount",
    "currency",
    "plan", "subscription", "period", "provider", "estimated", "invoice",
)  # fmt: skip
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
_SUFFIXES = (".focus.csv", ".csv", ".parquet")


def write(
    store: Store, what: usage.Asked, path: Path, *, issuer: str = "", providers: bool = True, now_us: Callable[[], int]
) -> dict[str, Any]:
    """Write the usage asked for. The file's name says the format: `.csv`, `.parquet`, `.focus.csv`.

    issuer: for FOCUS. providers: False leaves out who provides models, which is the operator's business.

    Errors: BillingError for another name.
    """
    suffix = next((word for word in _SUFFIXES if path.name.endswith(word)), None)
    if suffix is None:
        raise BillingError(f"{path}: found another ending, allowed: {', '.join(_SUFFIXES)}. Rename it.")
    with store.view() as session, _whole(path) as part:
        if what.organisation:
            customers.found(session, what.organisation)
        if suffix == ".focus.csv":
            count = _csv(part, focus.COLUMNS, focus.rows(session, what, issuer), focus.NUMBERS)
        elif suffix == ".csv":
            count = _csv(part, COLUMNS, flat(session, what, providers), frozenset((*COUNTS, "amount")))
        else:
            count = _parquet(part, flat(session, what, providers))
    return {"file": str(path), "rows": count}


def flat(session: Session, what: usage.Asked, providers: bool = True) -> Iterator[dict[str, Any]]:
    """Every request as one row of text and whole numbers; the amount as decimal text. No provider cost: customers may get this file."""
    currencies = {item.id: item.body["currency"] for item in journal.documents(session, "organisation")}
    taken = selection.taken_by(session)
    for row in usage.rows(session, what):
        yield {
            **{
                name: row[name]
                for name in ("request_id", "organisation", "project", "key", "model", "version", "status", "kind", "plan")
            },
            **{name: row[name] for name in ("subscription", "period", "estimated")},
            "provider": row["provider"] if providers else "",
            **{name: row["units"].get(name, 0) for name in ("requests", *usage.UNITS)},
            "at": customers.shown_time(row["at_us"]),
            "amount": money.plain(row["amount"]),
            "currency": currencies.get(row["organisation"], ""),
            "invoice": selection.number_of(taken, row["subscription"], row["period"], row["sequence"]),
        }


def safe(text: str) -> str:
    """A cell that no spreadsheet runs."""
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def _csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]], numbers: frozenset[str]) -> int:
    names, count = list(columns), 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(
                ["" if row[name] is None else str(row[name]) if name in numbers else safe(str(row[name])) for name in names]
            )
            count += 1
    return count


def _parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    import polars as pl
    from polars.io.plugins import register_io_source

    from lode.data import snapshot

    schema = {name: pl.String if name in TEXTS else pl.Decimal(38, 12) if name == "amount" else pl.Int64 for name in COLUMNS}
    count = 0

    def batches(with_columns: Any, predicate: Any, n_rows: Any, batch_size: Any) -> Iterator[pl.DataFrame]:
        nonlocal count
        for batch in _batched(rows):
            count += len(batch)
            texts = {name: [row[name] for row in batch] for name in COLUMNS}
            frame = pl.DataFrame(texts, schema={**schema, "amount": pl.String})
            yield frame.with_columns(pl.col("amount").cast(pl.Decimal(38, 12)))

    snapshot.sink_plain(register_io_source(io_source=batches, schema=schema), path)
    return count


def _batched(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == usage.PAGE:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A place beside `path` that takes its name at the end; what was begun and failed is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
