"""T9: 1,000 random secrets and prompts go through the servers, to providers and an identity provider; none is found in what they leave.
Keys change under load.

    python benchmarks/secrets_proofs.py [--quick]

One line for each claim: name, figure, pass; then the load of the machine. Searched: files, WAL, logs (everything, with the traces of
faults), metrics, the journal as people read it, a backup and what is restored from it; as they were, in base64 and in hexadecimal.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lode.app.access import keys
from lode.app.backup.following import Follower
from lode.app.backup.making import Source
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.targets.open import open_target
from lode.data.storage.keys import new_key
from lode.testing.shop import Shop
from tests.unit.app.canaries import Canaries
from tests.unit.app.metering.test_metering_gate import request

CLIENTS = 8


def words(folder: Path, count: int) -> bool:
    canaries = Canaries(folder / "words")
    with canaries.world.store:
        canaries.send(count)
        found = canaries.found()
    ways = len(set(canaries.words.values()))
    print(
        f"T9 canaries: {len(found)} of {len(canaries.words):,} secrets and prompts, sent in {ways} ways, found in files, logs, metrics, "
        f"journal, backup, restore {found[:3]}: {'pass' if not found else 'FAIL'}"
    )
    return not found


def rotation(folder: Path, times: int) -> bool:
    """Clients call without a pause while their keys are rotated, and the backup goes on with a new key at a new target."""
    shop = Shop(folder / "shop")
    secrets = [shop.customer("acme", key={"name": "first"})]
    answers: list[Any] = []

    async def client(gate: Any, number: int, is_over: Callable[[], bool]) -> None:
        while not is_over():
            answers.append(await request(gate, secrets[-1], f"{number}-{len(answers)}"))

    async def main() -> None:
        gate = shop.gate()
        (id,) = [item["id"] for item in keys.list_keys(shop.store, "acme", now_us=shop.now_us)["keys"]]
        done = asyncio.Event()
        async with gate.running():
            clients = [asyncio.create_task(client(gate, number, done.is_set)) for number in range(CLIENTS)]
            for number in range(times):
                made = await asyncio.to_thread(keys.rotate, shop.store, "cli", "acme", id, shop.pepper, "3s", now_us=shop.now_us)
                await asyncio.sleep(1.5)  # until every process has seen it: at most 5 s, here about 1
                secrets.append(made["key"])
                await asyncio.to_thread(_backed_up, shop, folder, number)
            done.set()
            await asyncio.gather(*clients)

    asyncio.run(main())
    failed = [answer for answer in answers if answer != 200]
    shop.store.close()
    print(
        f"T9 rotation: {times} keys of ours and {times} keys of the backup changed under {CLIENTS} clients, {len(answers):,} requests, "
        f"{len(failed)} failed: {'pass' if not failed else 'FAIL'}"
    )
    return not failed


def _backed_up(shop: Shop, folder: Path, number: int) -> None:
    """The new key, a snapshot with it at a target of its own, and what comes back."""
    repository = Repository(open_target(folder / f"target{number}"), new_key(folder / f"key{number}"), make=True)
    Follower(Source(folder / "shop", shop.store), repository, now_us=shop.now_us).start()
    restore(repository, None, check=True)


def main() -> int:
    quick = "--quick" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="lode-secrets-"))
    try:
        results = [words(folder, 60 if quick else 1000), rotation(folder, 2 if quick else 10)]
        print(f"load average {os.getloadavg()[0]:.1f}")
        return int(not all(results))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
