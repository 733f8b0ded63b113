"""The tables of the books, in the common part of SQLite and PostgreSQL.

`journal` is the truth; the others follow from it and can be made again. Words that differ between the databases: AMOUNT is TEXT
in SQLite and NUMERIC(38) in PostgreSQL (10^-12 units of a currency outgrow 64 bits at nine million); BIGINT is INTEGER in SQLite
(only that is the row's own number); KEYED is WITHOUT ROWID in SQLite (one tree instead of two); BLOB is BYTEA in PostgreSQL. What
names the order "C" is for PostgreSQL alone.
"""

from __future__ import annotations

APPLICATION_ID = 0x6C6F6465  # "lode", so that another SQLite file is not taken for the books
FIRST_HASH = "0" * 64

_FIRST: tuple[str, ...] = (
    # One row. changes: acts with documents so far; a process whose copy of keys and plans is older reads them again.
    """CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1), sequence BIGINT NOT NULL, at_us BIGINT NOT NULL, hash TEXT NOT NULL,
        changes BIGINT NOT NULL)""",
    f"INSERT INTO head (one, sequence, at_us, hash, changes) VALUES (1, 0, 0, '{FIRST_HASH}', 0)",
    """CREATE TABLE journal (
        sequence BIGINT PRIMARY KEY, at_us BIGINT NOT NULL, kind TEXT NOT NULL, organisation TEXT NOT NULL,
        reference TEXT NOT NULL, fingerprint TEXT NOT NULL, record TEXT NOT NULL, hash TEXT NOT NULL)""",
    "CREATE UNIQUE INDEX journal_reference ON journal (organisation, reference) WHERE reference <> ''",
    # Requests are nearly all of the journal, and the table `usage` has them: ask with `AND kind <> 'usage.settle'` written out.
    "CREATE INDEX journal_kind ON journal (kind, sequence) WHERE kind <> 'usage.settle'",
    """CREATE TABLE transfers (
        sequence BIGINT NOT NULL, line INTEGER NOT NULL, debit TEXT NOT NULL, credit TEXT NOT NULL, amount AMOUNT NOT NULL,
        PRIMARY KEY (sequence, line)) KEYED""",
    "CREATE TABLE balances (account TEXT PRIMARY KEY, amount AMOUNT NOT NULL) KEYED",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, amount AMOUNT NOT NULL) KEYED",
    """CREATE TABLE documents (
        kind TEXT NOT NULL, id TEXT NOT NULL, organisation TEXT NOT NULL, sequence BIGINT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, id))""",
    "CREATE INDEX documents_organisation ON documents (organisation, kind)",
    # units, charges: JSON; the most asked-for units also have columns. invoice: '' until one selected the row.
    """CREATE TABLE usage (
        sequence BIGINT PRIMARY KEY, request_id TEXT NOT NULL, at_us BIGINT NOT NULL, organisation TEXT NOT NULL, project TEXT NOT NULL,
        key TEXT NOT NULL, model TEXT NOT NULL, version BIGINT NOT NULL, status INTEGER NOT NULL, kind TEXT NOT NULL,
        plan TEXT NOT NULL, subscription TEXT NOT NULL, period TEXT NOT NULL, num_rows BIGINT NOT NULL, input_tokens BIGINT NOT NULL,
        cached_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, compute_us BIGINT NOT NULL, units TEXT NOT NULL,
        charges TEXT NOT NULL, amount AMOUNT NOT NULL, cost AMOUNT NOT NULL, cost_currency TEXT NOT NULL, provider TEXT NOT NULL,
        estimated INTEGER NOT NULL, invoice TEXT NOT NULL)""",
    "CREATE INDEX usage_organisation ON usage (organisation, at_us)",
    "CREATE INDEX usage_at ON usage (at_us)",
    "CREATE INDEX usage_subscription ON usage (subscription, period)",
    # Not in the journal: what was answered, for a client that asks again with the same request id.
    """CREATE TABLE answers (
        organisation TEXT NOT NULL, request_id TEXT NOT NULL, until_us BIGINT NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
        body BLOB NOT NULL, PRIMARY KEY (organisation, request_id))""",
    "CREATE INDEX answers_until ON answers (until_us)",
    # Not in the journal: what a model said about each row, until an outcome is reported or until_us has passed (books/predictions.py).
    """CREATE TABLE predictions (
        organisation TEXT NOT NULL, request_id TEXT NOT NULL, model TEXT NOT NULL, version BIGINT NOT NULL, at_us BIGINT NOT NULL,
        until_us BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (organisation, request_id))""",
    "CREATE INDEX predictions_model ON predictions (model, at_us)",
    "CREATE INDEX predictions_until ON predictions (until_us)",
    # Not in the journal: what running processes have set aside; worth nothing once until_us has passed.
    """CREATE TABLE leases (
        process TEXT NOT NULL, allowance TEXT NOT NULL, amount AMOUNT NOT NULL, until_us BIGINT NOT NULL,
        PRIMARY KEY (process, allowance))""",
    """CREATE TABLE processes (process TEXT PRIMARY KEY, started_us BIGINT NOT NULL, until_us BIGINT NOT NULL, model TEXT NOT NULL)""",
)

# In the order of bytes, which SQLite's own key has: so that ranges of names (all counters of a contract) are found without reading
# everybody's. Not a column of that order: servers that run while it is made would lose their prepared statements.
_ORDERED: tuple[str, ...] = ('CREATE INDEX counters_name ON counters (name COLLATE "C")',)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _ORDERED)
"""MIGRATIONS[n] leads from version n to n + 1. Those that were released are never changed: a new one is added."""
VERSION = len(MIGRATIONS)
