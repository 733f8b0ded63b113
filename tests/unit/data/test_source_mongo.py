"""The source `mongo` against mongomock, which answers in MongoDB's place: no server of it is packaged where tests run.

What mongomock cannot show is the wire: the faults of a server are raised by hand.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import mongomock
import polars as pl
import pytest
from bson import Decimal128, ObjectId
from pymongo import errors

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.place import Place

NUM_ROWS = 25
MODULE = importlib.import_module("lode.data.sources.mongo")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = mongomock.MongoClient()
    made["shop"]["orders"].insert_many(
        {
            "_id": ObjectId(f"{i:024x}"), "n": i, "address": {"city": "Bern", "geo": {"lat": i / 2}}, "tags": ["a", i], "none": {},
            "at": datetime(2024, 1, 1 + i), "price": Decimal128("1.5"), "raw": b"\xff", **({"late": True} if i >= 20 else {}),
        }
        for i in range(NUM_ROWS)
    )  # fmt: skip
    made["shop"]["mixed"].insert_many([{"_id": 1, "x": 1}, {"_id": "a", "x": "b"}])
    monkeypatch.setattr(MODULE, "MongoClient", lambda *_, **__: made)
    return made


def make(folder: Path, **options: Any) -> Source:
    given = {"url": "mongodb://stand-in:27017", "database": "shop", "collection": "orders", "batch_rows": 10, **options}
    made: Source = REGISTRIES["source"].create(Component("mongo", given), Place(folder, landing=folder / "landing"))
    return made


def test_documents_become_flat_typed_rows_in_order_of_id(client: Any, tmp_path: Path) -> None:
    made = make(tmp_path)
    rows = made.scan().collect()
    assert rows["n"].to_list() == list(range(NUM_ROWS))
    assert set(rows.columns) == {"_id", "n", "address.city", "address.geo.lat", "tags", "none", "at", "price", "raw", "late"}
    assert rows.schema["at"] == pl.Datetime("us") and rows.schema["raw"] == pl.Binary and rows.schema["late"] == pl.Boolean
    assert rows["tags"][3] == '["a", 3]' and rows["address.geo.lat"][3] == 1.5 and rows["_id"][10] == f"{10:024x}"
    assert rows["late"].to_list() == [None] * 20 + [True] * 5
    assert made.notes == ('mongodb://stand-in:27017/shop orders: column "price" holds exact decimals and is read as 64-bit numbers '
                          "(about 15 digits).",)  # fmt: skip


def test_filter_and_fields(client: Any, tmp_path: Path) -> None:
    wanted = {"at": {"$gte": {"$date": "2024-01-24T00:00:00Z"}}}
    rows = make(tmp_path, filter=wanted, fields=["n", "address.city"]).scan().collect()
    assert rows["n"].to_list() == [23, 24]
    assert set(rows.columns) == {"_id", "n", "address.city"}


def _cut(read: Any, after: int) -> Any:
    """A `_fetched` that loses the server after some batches."""

    def fetched(self: Any, documents: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal after
        after -= 1
        if after < 0:
            raise errors.AutoReconnect("connection closed")
        found: list[dict[str, Any]] = read(self, documents)
        return found

    return fetched


@pytest.mark.parametrize("after", [1, 2])
def test_a_lost_server_leaves_what_landed_and_the_next_read_goes_on(
    after: int, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MODULE.Mongo, "_fetched", _cut(MODULE.Mongo._fetched, after))
        with pytest.raises(DataError, match=rf"went away .* {after * 10} rows are kept; the same command goes on"):
            make(tmp_path).scan()
    found = make(tmp_path)
    assert found.fingerprint() == make(tmp_path / "whole").fingerprint()
    assert any(f"stopped after row {after * 10}" in note for note in found.notes)


def test_ids_of_several_types_are_read_whole_and_never_resumed(client: Any, tmp_path: Path) -> None:
    kind = REGISTRIES["source"].get("mongo")
    made = kind(Place(tmp_path), url="mongodb://h", database="shop", collection="mixed", batch_rows=1)
    assert [batch.position for batch in made._read(None)] == [None, None]
    assert make(tmp_path, collection="mixed").scan().collect()["x"].to_list() == ["1", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collection": "order"}, 'no collection "order", there is mixed, orders. Did you mean "orders"'),
        ({"database": "shpo"}, 'no database "shpo", there is shop. Did you mean "shop"'),
        ({"filter": {"$or": [{"$where": "sleep(1)"}]}}, r"`filter` says \$where, which runs code"),
        ({"filter": {"a": {"$oid": "xyz"}}}, "`filter` is not readable"),
        ({"filter": {"n": 1000}}, "gives no rows"),
        ({"url": "mongodb://ann:s3cret@h"}, "`url` holds a user or a password"),
        ({"url": "mongodb://h/?tlsCertificateKeyFilePassword=s3cret"}, "holds a password, a token or a secret"),
        ({"url": "http://s3cret"}, "no address of MongoDB"),
        ({"url": "mongodb://h:port"}, "no address of MongoDB"),
    ],
)
def test_what_is_wrong_is_told(client: Any, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make(tmp_path, **options).scan()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.ServerSelectionTimeoutError("h:1: refused"), "no connection .h:1: refused.. Check host and port"),
        (errors.OperationFailure("Authentication failed.", 18), "Check the user and the password"),
        (errors.OperationFailure("unknown operator: $gtt", 2), "Correct `filter` or `fields`"),
    ],
)
def test_faults_of_a_server_are_told_with_the_next_step(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(MODULE.Mongo, "_check_collection", fail)
    with pytest.raises(DataError, match=message):
        make(tmp_path).scan()


def test_a_server_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_CONNECT_MS", 100)
    with pytest.raises(DataError, match=r"no connection .* Check host and port in `url`"):
        make(tmp_path, url="mongodb://127.0.0.1:1").scan()
