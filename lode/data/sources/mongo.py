"""A collection of MongoDB, read once in order of `_id`; the documents land on disk as rows.

Read lode/data/access/landing.py first: parts, positions, what a killed read leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import polars as pl
from bson import json_util
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.objectid import ObjectId
from pymongo import MongoClient, errors
from pymongo.uri_parser import parse_uri

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import FilePath, Range
from lode.data.access import typed_rows
from lode.data.access.accounts import read_account
from lode.data.access.landing import Batch, ConnectionLostError, Feed, Landing, land
from lode.data.contracts import Source
from lode.data.place import Place

_CONNECT_MS = 10_000
_FETCH_DOCUMENTS = 1000
_MAX_BATCH_BYTES = 1 << 26
_CODE = ("$where", "$function", "$accumulator")
_SECRET = ("password", "token", "secret")
_NUMBER = (int, float, Decimal128)
_AUTHENTICATION_FAILED, _UNAUTHORIZED = 18, 13


class Mongo(Source):
    """A collection of MongoDB. Fields of nested documents become columns `outer.inner`, lists become JSON text.

    Args:
        url: `mongodb://host:27017` or `mongodb+srv://host`. Never with a user or a password.
        database: the database.
        collection: the collection.
        filter: which documents, as MongoDB writes it; dates as `{$date: "2024-01-31T00:00:00Z"}`, ids as `{$oid: "..."}`. No code.
        fields: only these fields (`outer.inner` for nested ones), and `_id`.
        refresh: `always` reads again in every run; `never` keeps what was read once.
        user_env: the environment variable that holds the user's name.
        password_env: the environment variable that holds the password.
        secrets: a JSON file with `user` and `password` that only you may read, instead of environment variables.
        account_database: the database that knows the user.
        batch_rows: documents per part: what is in memory at a time, and what a killed read loses at most.
    """

    def __init__(
        self,
        place: Place,
        *,
        url: str,
        database: str,
        collection: str,
        filter: dict[str, Any] | None = None,
        fields: list[str] | None = None,
        refresh: Literal["always", "never"] = "always",
        user_env: str | None = None,
        password_env: str | None = None,
        secrets: FilePath | None = None,
        account_database: str = "admin",
        batch_rows: Annotated[int, Range(1, 1_000_000)] = 50_000,
    ) -> None:
        self.place, self.database, self.collection, self.fields = place, database, collection, fields
        self.refresh, self.batch_rows, self.account_database = refresh, batch_rows, account_database
        self.url, self.notes = _checked(url), ()
        self.name = f"{self.url.partition('?')[0].rstrip('/')}/{database} {collection}"
        self.account = read_account(place, self.name, user_env, password_env, secrets)
        self.filter = _filter(self.name, filter or {})

    def fingerprint(self) -> str:
        return self._landing().sha256

    def scan(self) -> pl.LazyFrame:
        return self._landing().scan()

    def _landing(self) -> Landing:
        key = {
            "source": "mongo", "url": self.url, "database": self.database, "collection": self.collection,
            "filter": json_util.dumps(self.filter), "fields": self.fields, "batch_rows": self.batch_rows,
        }  # fmt: skip
        advice = "A collection whose `_id`s are of one type is read so that a read that stops goes on where it was."
        landed = land(self.place, Feed(self.name, key, self._read, keep=self.refresh == "never", advice=advice))
        self.notes, self.num_bytes = landed.notes, landed.num_bytes
        return landed

    def _read(self, position: Any) -> Iterator[Batch]:
        """The documents after a position, in order of `_id`, in batches that depend on the documents alone."""
        client = self._client()
        num_read = 0
        try:
            self._check_collection(client)
            collection = client[self.database][self.collection]
            has_one_type = _has_one_type(collection)
            wanted = self.filter
            if position is not None:
                # The same type of `_id` everywhere, so "greater" leaves none out.
                wanted = {"$and": [self.filter, {"_id": {"$gt": json_util.loads(position)}}]}
            documents = collection.find(wanted, self.fields, batch_size=min(_FETCH_DOCUMENTS, self.batch_rows)).sort("_id", 1)
            while rows := self._fetched(documents):
                num_read += len(rows)
                frame, notes = typed_rows.frame_of(*_table(rows))
                yield Batch(frame, json_util.dumps(rows[-1]["_id"]) if has_one_type else None, notes)
        except errors.PyMongoError as error:
            raise self._fault(error, num_read > 0 or position is not None) from error
        finally:
            client.close()

    def _client(self) -> MongoClient[dict[str, Any]]:
        options: dict[str, Any] = {"serverSelectionTimeoutMS": _CONNECT_MS, "appname": "lode"}
        if self.account.user is not None:
            options |= {"username": self.account.user, "password": self.account.password, "authSource": self.account_database}
        return MongoClient(self.url, **options)

    def _fetched(self, documents: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """At most `batch_rows` documents, fewer where they are large; flat."""
        rows: list[dict[str, Any]] = []
        num_bytes = 0
        for document in documents:
            rows.append(_flat(document, ""))
            num_bytes += sum(len(cell) for cell in rows[-1].values() if isinstance(cell, str | bytes))
            if len(rows) >= self.batch_rows or num_bytes >= _MAX_BATCH_BYTES:
                break
        return rows

    def _check_collection(self, client: MongoClient[dict[str, Any]]) -> None:
        """Errors: DataError naming the collections that there are: an unknown one would just be empty."""
        known = sorted(client[self.database].list_collection_names())
        if self.collection in known:
            return
        databases = sorted(client.list_database_names())
        if self.database not in databases:
            hint = near_miss(self.database, databases)
            raise DataError(f'{self.name}: no database "{self.database}", there is {listed(databases) or "none"}.{hint}')
        hint = near_miss(self.collection, known)
        raise DataError(f'{self.name}: no collection "{self.collection}", there is {listed(known) or "none"}.{hint}')

    def _fault(self, error: errors.PyMongoError, is_reading: bool) -> DataError:
        told = self.account.scrub(str(error).splitlines()[0][:200])
        if isinstance(error, errors.OperationFailure) and error.code in (_AUTHENTICATION_FAILED, _UNAUTHORIZED):
            return DataError(
                f"{self.name}: no right to read ({told}). Check the user and the password (`user_env` and `password_env`, or `secrets`)."
            )
        if isinstance(error, errors.ConnectionFailure) and is_reading:
            return ConnectionLostError(f"{self.name}: the server went away while documents were read ({told}).")
        if isinstance(error, errors.ConnectionFailure | errors.ConfigurationError):
            advice = "Check host and port in `url`, and that the server runs and can be reached from here."
            return DataError(f"{self.name}: no connection ({told}). {advice}")
        return DataError(f"{self.name}: the server refuses the query ({told}). Correct `filter` or `fields`.")


def _checked(url: str) -> str:
    """The url, with nothing secret in it. Errors: DataError; the text is never repeated, for it may hold a password."""
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        raise DataError("source mongo: `url` is no address of MongoDB. Write mongodb://host:27017 or mongodb+srv://host.")
    if "@" in url:
        raise DataError(
            "source mongo: `url` holds a user or a password, which would end in every record of the run. Take them out, put them into "
            "environment variables, and name those in `user_env` and `password_env`."
        )
    words = url.partition("?")[2].lower()
    if any(word in words for word in _SECRET):
        raise DataError("source mongo: `url` holds a password, a token or a secret after its ?, allowed: none. Take it out.")
    if url.startswith("mongodb://"):  # the other kind would ask the network now
        try:
            parse_uri(url)
        except (errors.PyMongoError, ValueError):
            raise DataError("source mongo: `url` is no address of MongoDB. Write mongodb://host:27017.") from None
    return url


def _filter(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The filter with dates and ids in their types.

    Errors: DataError for what is no filter, and for code that would run on the server.
    """
    text = json.dumps(given, default=str)
    for word in _CODE:
        if f'"{word}"' in text:
            raise DataError(
                f"{name}: `filter` says {word}, which runs code on the server; it is not allowed. Compare fields instead."
            )
    try:
        found: dict[str, Any] = json_util.loads(text)
    except (ValueError, TypeError, BSONError) as error:
        raise DataError(f"{name}: `filter` is not readable ({error}). Write MongoDB's extended JSON.") from error
    return found


def _has_one_type(collection: Any) -> bool:
    """Whether all `_id`s are of one type: MongoDB orders by type first, so the first and the last tell."""
    ends = [next(iter(collection.find({}, ["_id"]).sort("_id", way).limit(1)), None) for way in (1, -1)]
    kinds = [type(end["_id"]) for end in ends if end is not None]
    return len({"number" if issubclass(kind, _NUMBER) else kind.__name__ for kind in kinds}) == 1 and bool not in kinds


def _flat(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of a document, those of nested ones as `outer.inner`."""
    found: dict[str, Any] = {}
    for name, cell in document.items():
        if isinstance(cell, Mapping) and cell and not (name == "_id" and not prefix):
            found |= _flat(cell, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = cell
    return found


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Names in order of appearance, and the cells of every document; a field that one lacks is a missing cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[_cell(row.get(name)) for name in names] for row in rows]


def _cell(cell: Any) -> Any:
    """A cell in a type that Python knows."""
    if cell is None or isinstance(cell, bool | str):
        return cell
    if isinstance(cell, Decimal128):
        return cell.to_decimal()
    if isinstance(cell, Binary):
        return bytes(cell)
    if isinstance(cell, ObjectId):
        return str(cell)
    if isinstance(cell, Mapping | list):
        return json_util.dumps(cell, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)
    return cell
