"""Books in a folder, a clock that a test turns, and the verbs of access with both filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lode.app.access import credentials, keys, limits, members, organisations
from lode.app.access.directory import Directory
from lode.app.books.contracts import Store
from lode.app.books.sqlite import SqliteStore
from lode.app.contracts import Caller

START_US = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
HOUR_US = 3_600_000_000


class World:
    """One server's books. time_us: what its clock says."""

    def __init__(self, folder: Path, store: Store | None = None):
        self.folder = folder
        self.store = store or SqliteStore(folder / "books.sqlite")
        self.pepper = credentials.stored_pepper(folder)
        self.time_us = START_US

    def now_us(self) -> int:
        return self.time_us

    def later(self, hours: float) -> None:
        self.time_us += int(hours * HOUR_US)

    def customer(self, slug: str = "acme", **fields: Any) -> dict[str, Any]:
        return organisations.add(self.store, "cli", slug, {"name": slug.title(), "currency": "EUR", **fields}, now_us=self.now_us)

    def key(self, slug: str = "acme", **fields: Any) -> dict[str, Any]:
        return keys.create(self.store, "cli", slug, fields, self.pepper, now_us=self.now_us)

    def rotate(self, id: str, overlap: str = "24h", slug: str = "acme") -> dict[str, Any]:
        return keys.rotate(self.store, "cli", slug, id, self.pepper, overlap, now_us=self.now_us)

    def project(self, name: str, slug: str = "acme") -> str:
        return str(members.add_project(self.store, "cli", slug, name, now_us=self.now_us)["id"])

    def account(self, name: str, role: str = "service", slug: str = "acme") -> str:
        return str(members.add_account(self.store, "cli", slug, name, role, now_us=self.now_us)["id"])

    def user(self, **fields: Any) -> dict[str, Any]:
        return members.set_user(self.store, "cli", fields, now_us=self.now_us)

    def limit(self, subject: str, *written: Any) -> dict[str, Any]:
        return limits.set_limits(self.store, "cli", subject, list(written), now_us=self.now_us)

    def directory(self) -> Directory:
        with self.store.view() as session:
            return Directory.read(session)

    def call(self, authorization: bytes | str | None) -> Caller:
        """What a gate does with a header."""
        header = authorization.encode() if isinstance(authorization, str) else authorization
        digest = credentials.hmac_of(self.pepper, credentials.key_in(header))
        return self.directory().caller(digest, self.time_us)

    def acts(self) -> list[tuple[str, ...]]:
        """Kind, actor and organisation of every row of the journal."""
        with self.store.view() as session:
            return [(kind, who) for kind, who in session.rows("SELECT kind, organisation FROM journal ORDER BY sequence")]

    def raw(self) -> bytes:
        """Every byte that lies in the folder, the pepper apart."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.iterdir()) if path.name != "pepper")
