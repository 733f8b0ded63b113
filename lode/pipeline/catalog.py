"""The catalogue: one SQLite file in the runs folder with runs, artifacts, versions, and which version has which stage."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lode.core import disk
from lode.core.errors import ArtifactError, near_miss

_MIGRATIONS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, spec_path TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
        stages TEXT NOT NULL DEFAULT '{}', headline TEXT);
    CREATE TABLE artifacts (
        name TEXT NOT NULL, version INTEGER NOT NULL, hash TEXT NOT NULL, run TEXT NOT NULL, created TEXT NOT NULL, headline TEXT,
        PRIMARY KEY (name, version), UNIQUE (name, hash));
    CREATE TABLE promotions (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, stage TEXT NOT NULL, version INTEGER NOT NULL, at TEXT NOT NULL,
        FOREIGN KEY (name, version) REFERENCES artifacts (name, version));
    """,
)
"""One script for each schema version; `PRAGMA user_version` says how many have run."""


_ROOM_BYTES = 200_000
"""What an empty catalogue and its journal take."""


class Catalog:
    """Names, versions and stages. Every method opens its own short connection, so that readers never block a run."""

    def __init__(self, runs: Path):
        self.path = runs / "catalog.sqlite"

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            self._migrate(connection)
            yield connection
        except sqlite3.OperationalError as error:
            # On a disk without room SQLite says "disk I/O error", for it cannot make its shared memory.
            if disk.is_full(error) or shutil.disk_usage(self.path.parent).free < _ROOM_BYTES:
                raise disk.full_error(self.path.parent, _ROOM_BYTES) from error
            raise
        finally:
            connection.close()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise ArtifactError(
                f"{self.path}: schema version {version}, this lode knows up to {len(_MIGRATIONS)}. Upgrade lode, or use another --runs DIR."
            )
        while version < len(_MIGRATIONS):
            # Another process may migrate at the same time: look again once the write lock is held.
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < len(_MIGRATIONS):
                for statement in _MIGRATIONS[version].split(";"):
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA user_version={version:d}")
            connection.execute("COMMIT")

    def start_run(self, run: str, name: str, spec_path: Path) -> None:
        """Note that a run began (or begins again)."""
        with self._connect() as connection:
            connection.execute(
                "INSERT INTO runs (id, name, spec_path, status, started) VALUES (?, ?, ?, 'running', ?) "
                "ON CONFLICT (id) DO UPDATE SET status='running', started=excluded.started, finished=NULL",
                (run, name, str(spec_path), _now()),
            )

    def note_stages(self, run: str, stages: Mapping[str, str]) -> None:
        """Record stage -> key as far as the run has come."""
        with self._connect() as connection:
            connection.execute("UPDATE runs SET stages=? WHERE id=?", (json.dumps(dict(stages)), run))

    def end_run(self, run: str, status: str, headline: str | None) -> None:
        """Note how a run ended: "done" or "failed"."""
        with self._connect() as connection:
            connection.execute("UPDATE runs SET status=?, finished=?, headline=? WHERE id=?", (status, _now(), headline, run))

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the latest first."""
        with self._connect() as connection:
            rows = connection.execute("SELECT * FROM runs ORDER BY started DESC, id").fetchall()
        return [{**dict(row), "stages": json.loads(row["stages"])} for row in rows]

    def next_version(self, name: str, content_hash: str) -> int:
        """The version that this content has under this name, or would get."""
        with self._connect() as connection:
            row = connection.execute("SELECT version FROM artifacts WHERE name=? AND hash=?", (name, content_hash)).fetchone()
            if row is None:
                row = connection.execute(
                    "SELECT COALESCE(MAX(version), 0) + 1 AS version FROM artifacts WHERE name=?", (name,)
                ).fetchone()
        return int(row["version"])

    def add_artifact(self, name: str, content_hash: str, run: str, headline: str | None) -> tuple[int, bool]:
        """The version of this content under this name, and whether it is new. The first version becomes production."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute("SELECT version FROM artifacts WHERE name=? AND hash=?", (name, content_hash)).fetchone()
            if row is not None:
                connection.execute("COMMIT")
                return int(row["version"]), False
            version = connection.execute("SELECT COALESCE(MAX(version), 0) + 1 FROM artifacts WHERE name=?", (name,)).fetchone()[0]
            connection.execute(
                "INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?)", (name, version, content_hash, run, _now(), headline)
            )
            if version == 1:
                connection.execute(
                    "INSERT INTO promotions (name, stage, version, at) VALUES (?, 'production', 1, ?)", (name, _now())
                )
            connection.execute("COMMIT")
            return int(version), True

    def artifacts(self, name: str | None = None) -> list[dict[str, Any]]:
        """All versions (of one name), the latest first, each with `production` true or false."""
        if not self.path.is_file():
            return []
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT * FROM artifacts WHERE ?1 IS NULL OR name=?1 ORDER BY name, version DESC", (name,)
            ).fetchall()
            live = {row["name"]: self._production(connection, row["name"]) for row in rows}
        return [{**dict(row), "production": live[row["name"]] == row["version"]} for row in rows]

    def version(self, name: str, version: int | None = None) -> int:
        """The asked version, or the one in production. Errors: ArtifactError naming what exists."""
        if not self.path.is_file():
            raise ArtifactError(
                f'{self.path.parent}: no model "{name}", there is none yet. Make one with `lode run`, or name --runs DIR.'
            )
        with self._connect() as connection:
            names = [row[0] for row in connection.execute("SELECT DISTINCT name FROM artifacts ORDER BY name")]
            if name not in names:
                known = ", ".join(names) or "none yet"
                raise ArtifactError(
                    f'{self.path.parent}: no model "{name}", there is {known}.{near_miss(name, names)} Make one with `lode run`, or name '
                    "another folder with --runs DIR."
                )
            if version is None:
                return self._production(connection, name)
            versions = [
                row[0] for row in connection.execute("SELECT version FROM artifacts WHERE name=? ORDER BY version", (name,))
            ]
            if version not in versions:
                raise ArtifactError(
                    f'{self.path.parent}: model "{name}" has no version {version}, there is {", ".join(map(str, versions))}.'
                )
            return version

    def promote(self, name: str, version: int) -> int:
        """Make a version production; returns the one before."""
        self.version(name, version)
        with self._connect() as connection:
            before = self._production(connection, name)
            if before != version:
                connection.execute(
                    "INSERT INTO promotions (name, stage, version, at) VALUES (?, 'production', ?, ?)", (name, version, _now())
                )
        return before

    def previous(self, name: str) -> int:
        """The version that was production before the present one. Errors: ArtifactError where there was none."""
        present = self.version(name)
        with self._connect() as connection:
            history = [row[0] for row in connection.execute("SELECT version FROM promotions WHERE name=? ORDER BY id", (name,))]
        stack: list[int] = []
        for version in history:
            # Going back to the version below the top is a rollback: it takes the top away instead of piling up.
            if len(stack) > 1 and stack[-2] == version:
                stack.pop()
            else:
                stack.append(version)
        if len(stack) < 2:
            raise ArtifactError(
                f'{self.path.parent}: model "{name}" has had no other production version than {present}. '
                f"Name one: lode rollback {name} VERSION."
            )
        return stack[-2]

    @staticmethod
    def _production(connection: sqlite3.Connection, name: str) -> int:
        row = connection.execute(
            "SELECT version FROM promotions WHERE name=? AND stage='production' ORDER BY id DESC LIMIT 1", (name,)
        ).fetchone()
        return int(row["version"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
