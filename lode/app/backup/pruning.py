"""What nobody needs any more leaves the target: old snapshots, then packs of which little is still named.

The order keeps every remaining snapshot whole at any moment: first the new packs, then one new index, then the old ones go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from lode.app.backup.presence import Presence, stamp_before
from lode.app.backup.repository import Place, Repository, Writer, index_bytes, new_id

_SPARSE = 0.5
"""A pack of which less than this is named is written anew."""


def prune(presence: Presence, made: str, new: Mapping[bytes, Place], keep: int | None, now_us: int) -> list[str]:
    """Remove all but the newest `keep` snapshots (None keeps all), and what they alone needed; ids of the removed ones.

    made, new: the snapshot just made and its chunks, which count whether or not the target lists them yet.
    Nothing is removed while somebody else is at work there.
    """
    repository = presence.repository
    with presence.marked("prune", now_us):
        if presence.others(("backup", "prune"), now_us):
            return []
        repository.load_present(new)  # others may have added to it since
        ids = sorted({*repository.snapshots(), made})
        removed = [] if keep is None else ids[:-keep]
        if removed:
            live = _named(repository, ids[-keep:] if keep else ids)  # read before anything goes: what cannot be opened stops it
            _forget(repository, removed)
            if live <= repository.known.keys():  # else something is lost already, and every byte may help
                _collect(repository, made, live, now_us)
        _orphans(repository, now_us)
    return removed


def _forget(repository: Repository, removed: list[str]) -> None:
    """Snapshots, and what was shipped after them."""
    shipped = repository.target.names("journal")
    for id in removed:
        for name in shipped:
            if name.startswith(id):
                repository.target.remove(f"journal/{name}")
        repository.target.remove(f"snapshots/{id}")


def _collect(repository: Repository, made: str, live: set[bytes], now_us: int) -> None:
    """Write sparse packs anew, and one index of what is named."""
    old = {made, *repository.target.names("index")}
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
    places: dict[bytes, Place] = {name: repository.known[name] for name in live}
    id = new_id(now_us)
    repository.put_object(f"index/{id}", index_bytes(places))
    for index in {*old, writer.run, *repository.target.names("index")} - {id}:
        repository.target.remove(f"index/{index}")
    for pack in gone:
        repository.target.remove(f"packs/{pack}")
    repository.known = places


def _named(repository: Repository, ids: list[str]) -> set[bytes]:
    """Every chunk that these snapshots name."""
    live: set[bytes] = set()
    for id in ids:
        for item in repository.snapshot(id)["files"]:
            live.update(bytes.fromhex(name) for name in item["lists"])
            live.update(repository.names_in(item["lists"]))
    return live


def _orphans(repository: Repository, now_us: int) -> None:
    """Packs of backups that were killed."""
    named = {pack for pack, _, _ in repository.known.values()}
    before = stamp_before(now_us)
    for pack in repository.target.names("packs"):
        if pack not in named and pack < before:
            repository.target.remove(f"packs/{pack}")
