"""A PostgreSQL server for the books: durable as in production, one database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flows.servers import PASSWORD, Server, postgresql

_NUMBERS = itertools.count()
_MIN_MEMORY_BYTES = 1 << 29


@contextmanager
def books_server() -> Iterator[Server]:
    """A server that syncs, or a skip; libpq finds the password where the user would put it."""
    with pytest.MonkeyPatch.context() as patch:
        memory = Path("/dev/shm")
        if memory.is_dir() and shutil.disk_usage(memory).free > _MIN_MEMORY_BYTES:  # a sync of a busy disk takes seconds
            patch.setattr(tempfile, "tempdir", str(memory))
        server = postgresql()
    try:
        server.kill()
        server.command = [word.replace("fsync=off", "fsync=on") for word in server.command]
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGPASSWORD", PASSWORD)
            yield server
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


def new_database(server: Server) -> str:
    """The location of new books."""
    name = f"books{next(_NUMBERS)}"
    server.sql(f"CREATE DATABASE {name} OWNER reader")
    return f"postgresql://reader@127.0.0.1:{server.port}/{name}"
