"""Prices: check and add plans, see what usage would cost, and say which customer has which.

lode plans check plans/team.toml
lode plans price plans/team.toml --rows 250000
lode plans add plans/team.toml
lode plans subscribe acme team --zone Europe/Berlin --coupon SPRING
lode plans correct team@1 --with team@2 --from 2026-10-01 --reason "a zero too many" --preview
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import opened

_COUNTS = (
    "requests", "rows", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "compute_us",
    "request_bytes", "answer_bytes",
)  # fmt: skip
_SUMS = ("provider_cost", "transaction_value")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    made = actions.Actions(parser)
    made.add("check", _check, "every problem of a plan's file; adds nothing").add_argument("file", type=Path, metavar="FILE")
    made.add("add", _add, "register a plan's version; it never changes again").add_argument("file", type=Path, metavar="FILE")
    made.add("list", _list, "every version of every plan")
    show = made.add("show", _show, "one version, whole")
    show.add_argument("plan", metavar="NAME")
    show.add_argument("version", nargs="?", type=int, metavar="VERSION", help="the newest where it is left out")
    default = made.add("default", _default, "the plan that new customers begin with")
    default.add_argument("plan", metavar="NAME")
    default.add_argument("--version", type=int, metavar="N", help="default: the newest")
    correct = made.add("correct", _correct, "a price was wrong: rate what was used anew, by a later version")
    correct.add_argument("plan", metavar="PLAN@N", help="the version that was wrong")
    correct.add_argument(
        "--with", dest="right", required=True, metavar="PLAN@M", help="the later version that says what it should be"
    )
    correct.add_argument(
        "--from",
        dest="since",
        default="",
        metavar="DAY",
        help="periods that begin on this day of the contract or later (default: all)",
    )
    correct.add_argument("--reason", required=True, metavar="TEXT", help="why; it stands in the journal")
    correct.add_argument("--preview", action="store_true", help="what would change, by customer and period; nothing is written")
    _price_options(made)
    _customer_options(made)
    _coupon_options(made)


def _price_options(made: actions.Actions) -> None:
    price = made.add("price", _price, "what some usage would cost in one period")
    price.add_argument("plan", metavar="NAME", help="a plan of the books, or a file that ends in .toml")
    price.add_argument("--version", type=int, metavar="N", help="default: the newest")
    price.add_argument("--model", default="any", metavar="NAME", help="the model that is used (default: one that no charge names)")
    for name in _COUNTS:
        price.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help="default: 1" if name == "requests" else None)
    for name in _SUMS:
        price.add_argument(f"--{name.replace('_', '-')}", metavar="AMOUNT", help="in the plan's currency, such as 12.50")


def _customer_options(made: actions.Actions) -> None:
    new = made.add("subscribe", _subscribe, "give a customer a plan")
    new.add_argument("organisation", metavar="CUSTOMER")
    new.add_argument("plan", metavar="NAME")
    new.add_argument("--version", type=int, metavar="N", help="default: the newest")
    new.add_argument("--zone", metavar="ZONE", help="time zone of its periods, such as Europe/Berlin (default: the customer's)")
    new.add_argument("--since", metavar="WHEN", help="2027-01-31 or 2027-01-31T12:00:00+00:00 (default: now)")
    new.add_argument("--trial-days", type=int, metavar="N", help="days that are given away (default: the plan's)")
    new.add_argument("--coupon", default="", metavar="CODE")
    change = made.add("change", _change, "another plan, or another version")
    change.add_argument("organisation", metavar="CUSTOMER")
    change.add_argument("plan", metavar="NAME")
    change.add_argument("--version", type=int, metavar="N", help="default: the newest")
    change.add_argument(
        "--when",
        default="auto",
        choices=("auto", "now", "period_end"),
        help="auto: now, but at the period's end where the fees are lower",
    )
    cancel = made.add("cancel", _cancel, "end a customer's subscription")
    cancel.add_argument("organisation", metavar="CUSTOMER")
    cancel.add_argument("--when", default="period_end", choices=("now", "period_end"))
    cancel.add_argument("--reason", default="", metavar="TEXT")
    made.add("subscriptions", _subscriptions, "what a customer has and had").add_argument("organisation", metavar="CUSTOMER")


def _coupon_options(made: actions.Actions) -> None:
    coupon = made.add("coupon", _coupon, "a new coupon; without a code, all of them")
    coupon.add_argument("code", nargs="?", metavar="CODE")
    coupon.add_argument("--percent", metavar="P", help='"20" for 20 %% off each bill')
    coupon.add_argument("--amount", metavar="AMOUNT", help="off each bill")
    coupon.add_argument("--currency", default="", metavar="CUR", help="of the amount")
    coupon.add_argument("--periods", type=int, metavar="N", help="for how many periods; 1 for once (default: all)")
    coupon.add_argument("--until", metavar="WHEN", help="may be redeemed before that day")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Perform the action."""
    return actions.run(args)


def _check(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import plan, plans

    return {"checked": str(args.file), **plans.shown(plan.read_plan(args.file))}


def _add(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import plan, plans

    read = plan.read_plan(args.file)  # before the books are opened, and made
    with opened(args, make=True) as store:
        return plans.add(store, actions.ACTOR, read, now_us=actions.clock_us)


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import plans

    with opened(args) as store:
        return plans.listed(store)


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import plans

    with opened(args) as store:
        return plans.show(store, args.plan, args.version)


def _default(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import plans

    with opened(args) as store:
        return plans.set_default(store, actions.ACTOR, args.plan, args.version, now_us=actions.clock_us)


def _correct(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import rerating

    asked = (args.plan, args.right, args.since, args.reason)
    with opened(args) as store:
        if args.preview:
            return rerating.preview(store, *asked, now_us=actions.clock_us)
        return rerating.correct(store, actions.ACTOR, *asked, now_us=actions.clock_us)


def _price(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import estimate, plan, plans

    if args.plan.endswith(".toml"):
        chosen = plan.read_plan(Path(args.plan))
    else:
        with opened(args) as store, store.view() as session:
            chosen = plans.found(session, args.plan, args.version)
    units = {name: getattr(args, name) for name in (*_COUNTS, *_SUMS) if getattr(args, name) is not None}
    return estimate.estimate(chosen, units, args.model)


def _subscribe(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import subscriptions

    with opened(args) as store:
        return subscriptions.subscribe(
            store, actions.ACTOR, args.organisation, args.plan, version=args.version, zone=args.zone,
            since_us=_instant(args.since, "--since"), trial_days=args.trial_days, coupon=args.coupon, now_us=actions.clock_us,
        )  # fmt: skip


def _change(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import subscriptions

    with opened(args) as store:
        return subscriptions.change(
            store, actions.ACTOR, args.organisation, args.plan, version=args.version, when=args.when, now_us=actions.clock_us
        )


def _cancel(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import subscriptions

    with opened(args) as store:
        return subscriptions.cancel(
            store, actions.ACTOR, args.organisation, when=args.when, reason=args.reason, now_us=actions.clock_us
        )


def _subscriptions(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import subscriptions

    with opened(args) as store:
        return subscriptions.listed(store, args.organisation)


def _coupon(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.prices import coupons

    with opened(args) as store:
        if args.code is None:
            return coupons.listed(store)
        return coupons.add(
            store, actions.ACTOR, args.code, percent=args.percent, amount=args.amount, currency=args.currency, periods=args.periods,
            until_us=_instant(args.until, "--until"), now_us=actions.clock_us,
        )  # fmt: skip


def _instant(text: str | None, where: str) -> int | None:
    """Microseconds since 1970 of a date (its start in UTC) or of a time with its offset. Errors: BillingError."""
    from lode.app.prices.periods import micros
    from lode.core.errors import BillingError

    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None and len(text) == 10:
        at = at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None:
        raise BillingError(f'{where}: found "{text[:60]}", allowed: 2027-01-31 or 2027-01-31T12:00:00+00:00. Write it so.')
    return micros(at)


def show(result: dict[str, Any]) -> str:
    """A table, or one thing line by line; warnings last."""
    warned = "".join(f"\nwarning: {text}" for text in result.get("warnings", ()))
    if "corrected" in result:
        return _corrected(result)
    if "lines" in result:
        return _priced(result) + warned
    if "checked" in result:
        return f"{result['checked']}: a plan, version {result['plan']['version']}, hash {result['hash'][:12]}" + warned
    if "added" in result:
        done = "added" if result["added"] else "was added before, with the same content"
        return f"plan {result['plan']['name']}, version {result['plan']['version']}: {done}" + warned
    if "plans" in result:
        rows = [("plan", "currency", "period", "fees and charges", "")] + [
            (
                f"{item['plan']}@{item['version']}", item["currency"], item["period"], ", ".join((*item["fees"], *item["charges"])),
                _mark(item),
            )
            for item in result["plans"]
        ]  # fmt: skip
        first = f"\nnew customers begin with {result['default']}" if result["default"] else ""
        return (actions.columns(rows) if rows[1:] else "no plans. Add one: lode plans add plans/team.toml") + first
    if "subscriptions" in result:
        held = [
            (item["subscription"], actions.versions(item), item["since"], item["until"] or "", item["zone"])
            for item in result["subscriptions"]
        ]
        return actions.columns([("subscription", "plan", "since", "until", "zone"), *held]) if held else "no subscription"
    if "coupons" in result and "subscription" not in result:
        return "\n".join(actions.lines(item).replace("\n", "  ") for item in result["coupons"]) or "no coupons"
    if "plan" in result and "hash" in result:
        return _whole(result["plan"]) + f"\nhash  {result['hash']}" + warned
    return actions.lines(result)


def _mark(item: dict[str, Any]) -> str:
    """Of a version whose price was wrong."""
    since = f" from {item['corrected_from']}" if item["corrected_from"] else ""
    return f"corrected by {item['corrected_by']}{since}" if item["corrected_by"] else ""


def _corrected(result: dict[str, Any]) -> str:
    """What a correction changes, by customer and period."""
    heading = ["customer", "period", "state", "before", "after", "difference"]
    given = any(row["given_back"] != "0" for row in result["periods"])
    heading += ["given_back", "remains"] * given
    rows = [[row[name] for name in heading] for row in result["periods"]]
    done = "is corrected by" if result["applied"] else "would be corrected by"
    count = f"{len(rows)} period{'s' * (len(rows) != 1)}"
    said = f"{result['corrected']} {done} {result['by']}: {count}, {result['difference']} {result['currency']} without tax"
    table = [actions.columns([[name.replace("_", " ") for name in heading], *rows])] if rows else []
    if given:
        notes = f"credit notes gave back {result['given_back']} before: {result['remains']} {result['currency']} remains"
        said = f"{said}; {notes}"
    after = (
        "Open periods are invoiced at the corrected price, billed ones have a line on the next invoice."
        if rows
        else f"No period that has begun changes; {result['by']} prices those that begin later."
    )
    return "\n".join([*table, said, after])


def _priced(result: dict[str, Any]) -> str:
    """The lines of an estimate, as on a bill."""
    rows = [
        (
            line["name"],
            "" if line["quantity"] is None else f"{line['quantity']:,} {line['unit']}",
            actions.amount(line["amount"], result["currency"]),
        )
        for line in result["lines"]
    ]
    rows.append(("total", "", actions.amount(result["total"], result["currency"])))
    width = max(len(row[2]) for row in rows)
    return actions.columns([(name, quantity, amount.rjust(width)) for name, quantity, amount in rows])


def _whole(record: dict[str, Any]) -> str:
    """A plan as a person reads it."""
    plain = {name: value for name, value in record.items() if name not in ("fees", "charges")}
    told = [actions.lines(plain)]
    for word in ("fees", "charges"):
        for item in record[word]:
            rest = ", ".join(f"{name} {_worded(value)}" for name, value in item.items() if name != "name")
            told.append(f"{word[:-1]} {item['name']}: {rest}")
    return "\n".join(told)


def _worded(value: Any) -> str:
    """A setting of a plan; tiers as in its file, one after another."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(_worded(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{name.replace('_', ' ')} {_worded(item)}" for name, item in value.items())
    return str(value)
