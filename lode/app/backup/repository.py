"""The store of encrypted chunks behind every backup of one runs folder.

    lode-backup.json          format, the repository's id, the id of its key: the only readable object
    packs/STAMP-RANDOM-N      encrypted chunks, one behind the other, about 8 MiB
    running/...               marks of who is at work there just now: `presence.py`
    index/ID                  which chunk lies where in which pack
    snapshots/ID              one backup: its files, each a list of chunks
    journal/ID.FIRST-LAST     entries of the journal that were shipped after the snapshot ID

A snapshot is written last: a backup that was killed leaves packs that nobody names, and all older snapshots whole. READ FIRST in
this folder, then `making`, `restoring`.
"""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from lode.app.backup.sealing import NAME_BYTES, Sealing
from lode.app.targets.contracts import AbsentError, Target
from lode.core.errors import BackupError
from lode.data.storage.keys import Key

HEADER = "lode-backup.json"
FORMAT = 1
PACK_BYTES = 8 << 20
_CACHED_PACKS = 12
_ENTRY = struct.Struct(f">{NAME_BYTES}sIII")
Place = tuple[str, int, int]
"""Pack, offset, length."""


class Repository:
    """Chunks, indexes and snapshots at a target. Errors of every method: BackupError."""

    def __init__(self, target: Target, key: Key, *, make: bool = False):
        self.target = target
        try:
            header = target.read(HEADER)
        except AbsentError:
            if not make:
                raise BackupError(
                    f"{target.where}: found no backup. Make one: lode backup {target.where} --key-file FILE."
                ) from None
            header = _header(secrets.token_bytes(16), key.id)
            target.write(HEADER, header)
        self._header = header
        self.sealing = Sealing(key, _checked(header, key, target.where))
        self.known: dict[bytes, Place] = {}
        self._packs: OrderedDict[str, bytes] = OrderedDict()

    def unchanged(self) -> None:
        """Errors: BackupError where another machine, which began at the same time, made the repository anew: nothing here counts then."""
        if self.target.read(HEADER) != self._header:
            raise BackupError(
                f"{self.target.where}: another machine made its first backup there at the same time. Run this one again."
            )

    def snapshots(self) -> list[str]:
        """Ids, oldest first."""
        return self.target.names("snapshots")

    def snapshot(self, id: str) -> dict[str, Any]:
        """What a snapshot holds."""
        found: dict[str, Any] = orjson.loads(self.object(f"snapshots/{id}"))
        return found

    def object(self, name: str) -> bytes:
        """An object, opened."""
        return self.sealing.open_object(name, self.target.read(name), self.target.where)

    def put_object(self, name: str, content: bytes) -> int:
        """Store an object; its bytes there."""
        sealed = self.sealing.seal_object(name, content)
        self.target.write(name, sealed)
        return len(sealed)

    def load(self) -> None:
        """Learn where every chunk lies."""
        self.known = {}
        for id in self.target.names("index"):
            self.known.update(index_entries(self.object(f"index/{id}")))

    def load_present(self, own: Mapping[bytes, Place] | None = None) -> None:
        """The same of packs that are there: what was in a lost one is stored again. own: just written, listed or not yet."""
        self.load()
        packs = set(self.target.names("packs"))
        self.known = {**(own or {}), **{name: place for name, place in self.known.items() if place[0] in packs}}

    def chunk(self, name: bytes) -> bytes:
        """A chunk, opened."""
        place = self.known.get(name)
        if place is None:
            raise BackupError(
                f"{self.target.where}: the chunk {name.hex()} is missing. Take another snapshot, or another copy of the target."
            )
        pack, offset, length = place
        return self.sealing.open(name, self.pack(pack)[offset : offset + length], f"{self.target.where}: packs/{pack}")

    def pack(self, name: str) -> bytes:
        """The bytes of a pack; the last few are kept."""
        if name in self._packs:
            self._packs.move_to_end(name)
        else:
            self._packs[name] = self.target.read(f"packs/{name}")
            while len(self._packs) > _CACHED_PACKS:
                self._packs.popitem(last=False)
        return self._packs[name]

    def names_in(self, lists: Iterable[str]) -> Iterator[bytes]:
        """The chunks of a file, from its lists."""
        for list_name in lists:
            content = self.chunk(bytes.fromhex(list_name))
            for start in range(0, len(content), NAME_BYTES):
                yield content[start : start + NAME_BYTES]


class Writer:
    """New chunks of one run. new: where they lie. num_bytes: stored so far. Nothing counts before `finish`, which writes the index."""

    def __init__(self, repository: Repository, run: str):
        self._repository, self.run = repository, run
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.new: dict[bytes, Place] = {}
        self._count = 0
        self.num_bytes = self.num_new = self.num_chunks = 0

    def put(self, chunk: bytes) -> bytes:
        """Store a chunk unless it is there; its name."""
        name = self._repository.sealing.name(chunk)
        self.num_chunks += 1
        if name not in self._repository.known:
            self._append(name, self._repository.sealing.seal(name, chunk))
        return name

    def move(self, name: bytes) -> None:
        """Store a chunk again that lies in another pack, without opening it."""
        pack, offset, length = self._repository.known[name]
        self._append(name, self._repository.pack(pack)[offset : offset + length])

    def finish(self) -> None:
        """Write the last pack, and the index of all of them."""
        self._flush()
        if self.new:
            self.num_bytes += self._repository.put_object(f"index/{self.run}", index_bytes(self.new))

    def _append(self, name: bytes, sealed: bytes) -> None:
        place = (f"{self.run}-{self._count}", self._waiting_bytes, len(sealed))
        self.new[name] = self._repository.known[name] = place
        self._waiting.append(sealed)
        self._waiting_bytes += len(sealed)
        self.num_new += 1
        if self._waiting_bytes >= PACK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._repository.target.write(f"packs/{self.run}-{self._count}", b"".join(self._waiting))
        self.num_bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes, self._count = [], 0, self._count + 1


def index_bytes(places: dict[bytes, Place]) -> bytes:
    """An index: a line of JSON with the packs' names, then 28 bytes for each chunk."""
    packs = list(dict.fromkeys(pack for pack, _, _ in places.values()))
    number = {pack: index for index, pack in enumerate(packs)}
    body = b"".join(_ENTRY.pack(name, number[pack], offset, length) for name, (pack, offset, length) in places.items())
    return orjson.dumps(packs) + b"\n" + body


def index_entries(content: bytes) -> Iterator[tuple[bytes, Place]]:
    """What `index_bytes` wrote."""
    line, _, body = content.partition(b"\n")
    packs: list[str] = orjson.loads(line)
    for name, number, offset, length in _ENTRY.iter_unpack(body):
        yield name, (packs[number], offset, length)


def new_id(now_us: int) -> str:
    """Of a run and of its snapshot: they sort by time."""
    return f"{datetime.fromtimestamp(now_us / 1e6, UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def _header(id: bytes, key_id: str) -> bytes:
    return orjson.dumps({"format": FORMAT, "repository": id.hex(), "key": key_id})


def _checked(header: bytes, key: Key, where: str) -> bytes:
    """The repository's id."""
    try:
        found = orjson.loads(header)
        format, id, key_id = found["format"], bytes.fromhex(found["repository"]), found["key"]
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{where}: {HEADER} is damaged, or this is no backup of lode. Take another copy of the target.") from None
    if format != FORMAT:
        raise BackupError(f"{where}: a backup of format {format}, this lode knows {FORMAT}. Upgrade lode.")
    if header != _header(id, key_id):
        raise BackupError(f"{where}: {HEADER} was changed. Take another copy of the target.")
    if key_id != key.id:
        raise BackupError(f"{where}: made with the key {key_id}, found the key {key.id}. Name its key with --key-file.")
    return id
