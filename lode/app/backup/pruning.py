"""What nobody needs any more leaves the target: old snapshots, then packs of which little is still named.

The order keeps every remaining snapshot whole at any moment: first the new packs, then one new index, then the old ones go.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from lode.app.backup.repository import Place, Repository, Writer, index_bytes, new_id

_SPARSE = 0.5
"""A pack of which less than this is named is written anew."""
_FRESH = timedelta(days=1)
"""A pack that no index names may belong to a backup that is running elsewhere: it is left alone for so long."""


def prune(repository: Repository, keep: int | None, now_us: int) -> list[str]:
    """Remove all but the newest `keep` snapshots (None keeps all), and what they alone needed; ids of the removed ones."""
    ids = repository.snapshots()
    removed = [] if keep is None else ids[:-keep]
    if removed:
        for id in ids[-keep:] if keep else ():
            repository.snapshot(id)  # what nobody here wrote must not push out what can be restored
    for id in removed:
        for name in repository.target.names("journal"):
            if name.startswith(id):
                repository.target.remove(f"journal/{name}")
        repository.target.remove(f"snapshots/{id}")
    if removed:
        _collect(repository, now_us)
    _orphans(repository, now_us)
    return removed


def _collect(repository: Repository, now_us: int) -> None:
    """Write sparse packs anew, and one index of what is named."""
    old = repository.target.names("index")
    live = _named(repository)
    packs: dict[str, list[bytes]] = defaultdict(list)
    for name, (pack, _, _) in repository.known.items():
        packs[pack].append(name)
    writer = Writer(repository, new_id(now_us))
    gone = []
    for pack, names in packs.items():
        total = sum(repository.known[name][2] for name in names)
        kept = [name for name in names if name in live]
        if sum(repository.known[name][2] for name in kept) < _SPARSE * total:
            gone.append(pack)
            for name in kept:
                writer.move(name)
    if not gone:
        return
    writer.finish()
    places: dict[bytes, Place] = {name: repository.known[name] for name in live if name in repository.known}
    id = new_id(now_us)
    repository.put_object(f"index/{id}", index_bytes(places))
    for index in {*old, *repository.target.names("index")} - {id}:
        repository.target.remove(f"index/{index}")
    for pack in gone:
        repository.target.remove(f"packs/{pack}")
    repository.known = places


def _named(repository: Repository) -> set[bytes]:
    """Every chunk that a snapshot names."""
    live: set[bytes] = set()
    for id in repository.snapshots():
        for item in repository.snapshot(id)["files"]:
            live.update(bytes.fromhex(name) for name in item["lists"])
            live.update(repository.names_in(item["lists"]))
    return live


def _orphans(repository: Repository, now_us: int) -> None:
    """Packs of backups that were killed."""
    named = {pack for pack, _, _ in repository.known.values()}
    before = f"{datetime.fromtimestamp(now_us / 1e6, UTC) - _FRESH:%Y%m%dT%H%M%S}"
    for pack in repository.target.names("packs"):
        if pack not in named and pack < before:
            repository.target.remove(f"packs/{pack}")
