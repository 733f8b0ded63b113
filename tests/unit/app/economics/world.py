"""Books with customers, plans and metered requests, written by the real writer; a small artifact with a value block; a clock to turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lode.app.access import organisations
from lode.app.books import predictions
from lode.app.books.contracts import Store
from lode.app.books.sqlite import SqliteStore
from lode.app.contracts import Caller, Usage
from lode.app.economics import outcomes
from lode.app.metering.leases import Leases
from lode.app.metering.orders import Settlement
from lode.app.metering.terms import Terms
from lode.app.metering.writer import Writer
from lode.app.prices import plans, subscriptions

DAY_US = 86_400_000_000
START_US = 20_758 * DAY_US  # 2026-11-01
GRADUATED = {
    "name": "steps", "version": 1, "currency": "EUR", "period": "month", "anchor": 1,
    "charges": [{"name": "rows",
        "type": "graduated", "unit": "rows", "tiers": [{"up_to": 100, "price": "0.01"}, {"price": "0.003333333333"}],
    }],
}  # fmt: skip
FLAT = {
    "name": "flat", "version": 1, "currency": "EUR", "period": "month", "anchor": 1,
    "charges": [{"name": "rows", "type": "standard", "unit": "rows", "price": "0.005"}],
}  # fmt: skip


class World:
    """One server's books and runs."""

    def __init__(self, folder: Path, store: Store | None = None):
        self.runs = folder
        self.store: Store = store or SqliteStore(folder / "books.sqlite")
        self.time_us = START_US
        self._waiting: list[Settlement] | None = None
        self._writer = Writer(self.store, Terms(), Leases("here|1|1", "credit"), keep_us=DAY_US, now_us=self.now_us)

    def now_us(self) -> int:
        return self.time_us

    def later(self, days: float) -> None:
        self.time_us += int(days * DAY_US)

    def customer(self, slug: str, plan: Mapping[str, Any] | None = None, currency: str = "EUR") -> None:
        organisations.add(self.store, "cli", slug, {"name": slug.title(), "currency": currency}, now_us=self.now_us)
        if plan is not None:
            plans.add_record(self.store, "cli", plan, now_us=self.now_us)
            subscriptions.subscribe(self.store, "cli", slug, str(plan["name"]), now_us=self.now_us)

    def settle(self, slug: str, request_id: str, *, status: int = 200, model: str = "credit", cost: int = 0, **units: int) -> None:
        """A request that ends now. cost: what a provider took, 10^-12 EUR."""
        self.settle_said(slug, request_id, [], status=status, model=model, cost=cost, **units)

    def settle_said(
        self,
        slug: str,
        request_id: str,
        chances: Sequence[float],
        *,
        status: int = 200,
        model: str = "credit",
        cost: int = 0,
        **units: int,
    ) -> None:
        """The same with predictions. chances: P(positive) by row; treated from 0.5 on."""
        columns = {
            "default": [int(chance >= 0.5) for chance in chances], "default.probability.1": list(chances),
            "default.decision": [chance >= 0.5 for chance in chances],
        }  # fmt: skip
        predicted = predictions.kept(columns, len(chances)) if chances else ""
        provider = "hub" if cost else ""
        usage = Usage(
            request_id,
            model,
            1,
            status,
            units or {"rows": len(chances)},
            0.01,
            cost,
            "EUR" if cost else "",
            provider,
            predicted=predicted,
        )
        caller = Caller("key_1", slug, "prj_1", "key_1", currency="EUR")
        order = Settlement(caller, request_id, "f", usage, self.time_us, (), 0)
        if self._waiting is None:
            self._writer.run([order])
        else:
            self._waiting.append(order)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is settled meanwhile is written in commits of 50."""
        self._waiting = []
        yield
        orders, self._waiting = self._waiting, None
        for start in range(0, len(orders), 50):
            self._writer.run(orders[start : start + 50])

    def tell(self, slug: str, request_id: str, *items: Mapping[str, Any]) -> dict[str, Any]:
        return outcomes.report(self.store, "key:key_1", slug, request_id, list(items), now_us=self.now_us)

    def artifact(self, name: str = "credit", version: int = 1, **policy: str) -> None:
        """A model with a value block, as far as its worth is read from it."""
        folder = self.runs / "artifacts" / name / str(version)
        folder.mkdir(parents=True)
        amounts = policy or {"true_positive": "100", "false_positive": "-5", "false_negative": "-50", "true_negative": "0"}
        written = {"type": "matrix", "state": {"threshold": 0.5}, **amounts}
        recipe = {"outputs": [{"output": "default", "task": {"type": "binary", "positive": 1}}], "policy": written}
        (folder / "artifact.json").write_text(json.dumps({"currency": "EUR", "recipe": recipe}))
        serve = {"compute": {"price_per_hour": "3.6", "currency": "EUR"}}
        (folder / "card.json").write_text(json.dumps({"serve": serve, "training_seconds": 100, "value": {"decisions": 1000}}))
        (folder / "lineage.json").write_text(json.dumps({"stages": [{"seconds": 40.5}, {"seconds": 59.5}]}))
