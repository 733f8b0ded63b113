"""What `lode audit verify` and `lode audit checkpoint` do, for the command and the admin interface alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lode.app.audit import checkpoint
from lode.app.audit.checkpoint import Checkpoint, moment
from lode.app.audit.evidence import TODO, evidence, storage
from lode.app.audit.signing import PUBLIC_FILE, read_public, signer
from lode.app.audit.verify import verify
from lode.app.books.open import FILE
from lode.core.errors import AuditError, LodeError

FOLLOWING = "balances, transfers, documents, usage, counters, answers and predictions"
_SHOWN = 5


def make(runs: Path, books: str | None, place: str | None, now_us: int) -> dict[str, Any]:
    """Make a checkpoint; stored where `place` says (a .json file, a folder, a url), else only given back.

    Returns {"sequence", "hash", "text", "stored" (where, or None), "public_key"}.
    """
    with evidence(books, runs) as session:
        made = checkpoint.make(session, signer(runs), now_us)
    stored = checkpoint.write(made, place) if place else None
    return {
        "sequence": made.sequence, "hash": made.hash, "text": made.text().decode(), "stored": stored, "public_key": made.public_key,
    }  # fmt: skip


def check(
    runs: Path, books: str | None, places: Sequence[str], public_key: str | None, *, chain_only: bool = False
) -> dict[str, Any]:
    """Verify the books against themselves and against checkpoints. Errors: AuditError, which names the first bad entry.

    Returns {"entries", "hash", "at", "checkpoints", "compared", "seconds"}.
    """
    began_s = time.perf_counter()
    known = checkpoints(runs, places, public_key)
    with evidence(books, runs) as session:
        result = verify(session, known, chain_only=chain_only)
        pages, looked = ([], "") if chain_only else storage(session)
    result["problems"] += [{"table": "storage", "sequence": None, "what": what} for what in pages]
    if result["problems"]:
        raise AuditError(told(result))
    compared = "the chain only" if chain_only else f"{FOLLOWING} follow from them; {looked}"
    return {
        "entries": result["entries"], "hash": result["hash"], "at": moment(result["at_us"]), "checkpoints": result["checkpoints"],
        "compared": compared, "seconds": time.perf_counter() - began_s,
    }  # fmt: skip


def damage(runs: Path, books: str | None) -> LodeError | None:
    """What is wrong with the books, for a command that stumbled and does not know over what; None where nothing is, or none are."""
    if "://" not in str(books or "") and not Path(books or runs / FILE).is_file():
        return None
    try:
        check(runs, books, [], None)
    except LodeError as error:
        return error
    return None


def checkpoints(runs: Path, places: Sequence[str], public_key: str | None) -> list[tuple[str, Checkpoint]]:
    """The checkpoints to compare with, each signed by the key of the runs folder, or by another that is named."""
    own = runs / PUBLIC_FILE
    trusted = read_public(Path(public_key)) if public_key else read_public(own) if own.is_file() else None
    if not places and checkpoint.home(runs).is_dir():
        places = [str(checkpoint.home(runs))]
    return [item for place in places for item in checkpoint.read(place, trusted)]


def told(result: dict[str, Any]) -> str:
    """What was found, the first bad entry first, and what to do."""
    problems = sorted(result["problems"], key=lambda item: (item["sequence"] is None, item["sequence"] or 0))
    lines = [_line(item) for item in problems[:_SHOWN]]
    more = max(result["num_problems"], len(problems)) - len(lines)
    if more > 0:
        lines.append(f"and {more} more")
    first = result["first_bad"]
    proved = "" if first is None else f" Entries before {first} agree." if first > 1 else ""
    return "audit: the books are not what was written.\n  " + "\n  ".join(lines) + f"\n{TODO}{proved}"


def _line(item: dict[str, Any]) -> str:
    place = "" if item["sequence"] is None else f", entry {item['sequence']}"
    return f"{item['table']}{place}: {item['what']}"
