"""Checkpoints: how long the journal was, and its last hash, signed. Kept elsewhere, they betray a removed tail and a rewritten chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from lode.app.audit.signing import Signer, key_id, signed
from lode.app.books.contracts import Session
from lode.app.targets.contracts import AbsentError, Target
from lode.app.targets.open import open_target
from lode.core.errors import AuditError

VERSION = 1
SUFFIX = ".checkpoint.json"
_CONTEXT = b"lode audit checkpoint\n"
"""Before what is signed, so that a signature can never be taken for one of something else."""
_MOST = 253_402_300_799_000_000
"""The end of the year 9999 in microseconds; no journal is longer either."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """first: hash of entry 1, which tells one journal from another. made_us: the clock; at_us: of entry `sequence`.

    signature: of all the others.
    """

    version: int
    first: str
    sequence: int
    hash: str
    at_us: int
    made_us: int
    public_key: str
    signature: str = ""

    def content(self) -> bytes:
        """What is signed: canonical JSON of everything but the signature."""
        fields = asdict(self)
        fields.pop("signature")
        return _CONTEXT + orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)

    def text(self) -> bytes:
        """The file; `made` is for people."""
        return orjson.dumps(asdict(self) | {"made": moment(self.made_us)}, option=orjson.OPT_INDENT_2) + b"\n"

    @property
    def name(self) -> str:
        """Of its file: they sort by length of the journal."""
        return f"{self.sequence:012d}-{self.hash[:12]}{SUFFIX}"


def moment(at_us: int) -> str:
    """ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def head(session: Session) -> tuple[int, int, str]:
    """Sequence, time (microseconds) and hash of the last entry."""
    sequence, at_us, hash = session.rows("SELECT sequence, at_us, hash FROM head")[0]
    return int(sequence), int(at_us), str(hash)


def make(session: Session, key: Signer, now_us: int) -> Checkpoint:
    """A checkpoint of the journal as it is. Errors: AuditError for an empty one."""
    sequence, at_us, last = head(session)
    if sequence == 0:
        raise AuditError("audit checkpoint: the journal has no entry yet. Make one when something has happened.")
    first = session.rows("SELECT hash FROM journal WHERE sequence = 1")
    if not first:
        raise AuditError("audit checkpoint: entry 1 of the journal is missing. Run `lode audit verify`.")
    plain = Checkpoint(VERSION, str(first[0][0]), sequence, last, at_us, now_us, key.public)
    return Checkpoint(**asdict(plain) | {"signature": key.sign(plain.content())})


def parse(text: bytes, where: str, trusted: str | None) -> Checkpoint:
    """A checkpoint from its file. trusted: the public key that must have signed it (hex); None takes the one that it names.

    Errors: AuditError for what is no checkpoint, was changed, or was signed by another.
    """
    try:
        fields = orjson.loads(text)
        fields.pop("made", None)
        found = Checkpoint(**fields)
        is_whole = found.version == VERSION and _is_plain(found)
    except (ValueError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise AuditError(
            f"{where}: is no checkpoint of lode, or was changed. Take another one; `lode audit checkpoint` makes them."
        )
    if trusted is not None and found.public_key != trusted:
        raise AuditError(
            f"{where}: signed by the key {key_id(found.public_key)}, trusted is {key_id(trusted)}. Name yours with --public-key."
        )
    if not signed(found.public_key, found.signature, found.content()):
        raise AuditError(f"{where}: the signature is wrong: it was changed after it was made. Take another one.")
    return found


def _is_plain(found: Checkpoint) -> bool:
    """Whether each field is of its kind, so that nothing behind stumbles over it."""
    numbers = (found.version, found.sequence, found.at_us, found.made_us)
    texts = (found.first, found.hash, found.public_key, found.signature)
    return (
        all(type(number) is int and 0 <= number <= _MOST for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and len(bytes.fromhex(found.public_key)) == 32
    )


def put(checkpoint: Checkpoint, target: Target) -> str:
    """Store it; where."""
    target.write(checkpoint.name, checkpoint.text())
    return f"{target.where.rstrip('/')}/{checkpoint.name}"


def write(checkpoint: Checkpoint, place: str) -> str:
    """Store it in a file (a name that ends with .json) or, under its own name, in a folder or at a url; where."""
    folder, _, name = place.rpartition("/")
    if not name.endswith(".json"):
        return put(checkpoint, open_target(place))
    open_target(folder or ("/" if place.startswith("/") else ".")).write(name, checkpoint.text())
    return place


def read(place: str, trusted: str | None) -> list[tuple[str, Checkpoint]]:
    """The checkpoints in a file, or of a folder, by length. Errors: AuditError where there are none, or one is not trusted."""
    folder, _, name = place.rpartition("/")
    try:
        if name.endswith(".json"):
            target, names = open_target(folder or ("/" if place.startswith("/") else ".")), [name]
        else:
            target = open_target(place)
            names = [name for name in target.names("") if name.endswith(SUFFIX)]
        found = [(name, parse(target.read(name), f"{place}: {name}", trusted)) for name in names]
    except AbsentError:
        found = []
    if not found:
        raise AuditError(f"{place}: found no checkpoint, wanted a file, or a folder of *{SUFFIX}. Was it removed?")
    return sorted(found, key=lambda item: item[1].sequence)


def compare(session: Session, checkpoints: Sequence[tuple[str, Checkpoint]]) -> list[dict[str, Any]]:
    """What checkpoints say against the journal: problems, as `verify` gives them; none where they agree."""
    problems, proved = [], 0
    length = int(session.rows("SELECT COALESCE(MAX(sequence), 0) FROM journal")[0][0])
    first = [str(hash) for (hash,) in session.rows("SELECT hash FROM journal WHERE sequence = 1")]
    for name, item in checkpoints:
        rows = session.rows("SELECT hash FROM journal WHERE sequence = ?", (item.sequence,))
        if rows and str(rows[0][0]) == item.hash:
            proved = item.sequence
            continue
        when = f"the checkpoint {name} of {moment(item.made_us)}"
        if first != [item.first] and first:
            what = f"{when} is of another journal, or this one was rewritten from entry 1 on"
        elif item.sequence > length:
            what = f"{when} has {item.sequence} entries, the journal {length}: its tail was removed"
        else:
            what = f"{when} has another hash: the chain was rewritten somewhere after entry {proved}"
        sequence = proved + 1 if item.sequence <= length else length + 1
        problems.append({"table": "journal", "sequence": sequence, "what": what})
        break
    return problems


def home(runs: Path) -> Path:
    """Where checkpoints lie that nobody named a place for."""
    return runs / "checkpoints"
