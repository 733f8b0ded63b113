"""API keys: made and shown once, listed, renewed, revoked; limits of keys, projects, customers and models.

lode keys create acme --expires 90d
lode keys limit key/KEY_ID "600 requests/minute" "50 EUR/month"
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import opened, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    made = actions.Actions(parser)
    new = made.add("create", _create, "a new key, shown only now")
    new.add_argument("organisation", metavar="CUSTOMER")
    new.add_argument("--name", metavar="TITLE", help="what it is for")
    new.add_argument("--project", metavar="ID", help="which of the customer's projects it belongs to")
    new.add_argument("--account", metavar="ID", help="the service account whose key it is")
    new.add_argument(
        "--scope",
        action="append",
        metavar="WORD",
        help="predict, outcomes, usage:read, admin:read, admin, platform; may be repeated (default: predict)",
    )
    new.add_argument("--model", action="append", metavar="NAME", help="a model that it may call; may be repeated (default: all)")
    new.add_argument("--expires", metavar="WHEN", help="90d, 2027-01-31 or 2027-01-31T12:00:00+00:00 (default: never)")
    _pepper_option(new)
    made.add("list", _list, "keys, without what is secret").add_argument("organisation", nargs="?", metavar="CUSTOMER")
    rotate = made.add("rotate", _rotate, "a new secret under the same id; the old one works a while longer")
    rotate.add_argument("key", metavar="KEY_ID")
    rotate.add_argument("--overlap", default="24h", metavar="TIME", help="how long the old one works: 24h, 7d, 0s (default: 24h)")
    _pepper_option(rotate)
    revoke = made.add("revoke", _revoke, "refuse it from now on, everywhere within five seconds")
    revoke.add_argument("key", metavar="KEY_ID")
    revoke.add_argument("--reason", default="", metavar="TEXT", help="why, for the books")
    limit = made.add("limit", _limit, "set all limits of a key, project, customer or model; none given shows them")
    limit.add_argument("subject", nargs="?", metavar="SUBJECT", help="key/ID, project/ID, organisation/NAME or model/NAME")
    limit.add_argument(
        "limits", nargs="*", metavar="LIMIT", help='"10 requests/second burst 50", "1000 rows/day of big", "50.00 EUR/month"'
    )
    limit.add_argument("--none", action="store_true", help="take all its limits away")


def _pepper_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pepper-file", type=Path, metavar="FILE", help="under which keys are hashed (default: pepper in runs)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Perform the action."""
    return actions.run(args)


def _create(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import credentials, keys

    names = {"name": "name", "project": "project", "account": "account", "scopes": "scope", "models": "model", "expires": "expires"}
    fields = {field: getattr(args, name) for field, name in names.items() if getattr(args, name) is not None}
    with opened(args) as store:
        pepper = credentials.stored_pepper(runs_folder(args), args.pepper_file)
        made = keys.create(store, actions.ACTOR, args.organisation, fields, pepper, now_us=actions.clock_us)
    return {**made, "warnings": _unknown_models(args)}


def _unknown_models(args: argparse.Namespace) -> list[str]:
    """Models that are not in the runs folder: no mistake where they are served elsewhere, or are adapters."""
    from lode.core.errors import near_miss

    folder = runs_folder(args) / "artifacts"
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    missing = [name for name in args.model or () if known and name not in known]
    return [f'no model "{name}" is in {folder}.{near_miss(name, known)}' for name in missing]


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import keys

    with opened(args) as store:
        return keys.list_keys(store, args.organisation, now_us=actions.clock_us)


def _rotate(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import credentials, keys

    with opened(args) as store:
        owner = keys.organisation_of(store, args.key)
        pepper = credentials.stored_pepper(runs_folder(args), args.pepper_file)
        return keys.rotate(store, actions.ACTOR, owner, args.key, pepper, args.overlap, now_us=actions.clock_us)


def _revoke(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import keys

    with opened(args) as store:
        owner = keys.organisation_of(store, args.key)
        return keys.revoke(store, actions.ACTOR, owner, args.key, args.reason, now_us=actions.clock_us)


def _limit(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import limits
    from lode.core.errors import BillingError

    if args.none and (args.subject is None or args.limits):
        raise BillingError(
            "lode keys limit: found --none without a SUBJECT alone, wanted one. Write lode keys limit SUBJECT --none."
        )
    with opened(args) as store:
        if args.limits or args.none:
            written = [] if args.none else args.limits
            return limits.set_limits(store, actions.ACTOR, args.subject, written, now_us=actions.clock_us)
        if args.subject is not None:
            with store.view() as session:
                limits.owner_of(session, args.subject)  # refuses what does not exist
        return {"limits": [row for row in limits.show_limits(store)["limits"] if args.subject in (None, row["subject"])]}


def show(result: dict[str, Any]) -> str:
    """A new key with what to do with it, a table, or one thing line by line."""
    if "keys" in result:
        rows = [
            (
                item["id"], item["organisation"], " ".join(secret["begins"] for secret in item["secrets"]), item["state"],
                " ".join(item["scopes"]), item["expires"] or "never", item["name"],
            )
            for item in result["keys"]
        ]  # fmt: skip
        heading = ("key", "customer", "begins", "state", "scopes", "expires", "name")
        return actions.columns([heading, *rows]) if rows else "no keys. Make one: lode keys create CUSTOMER"
    if "subject" in result:
        return actions.columns((result["subject"], text) for text in result["limits"]) or f"{result['subject']}: no limits"
    if "limits" in result:
        return actions.columns((row["subject"], text) for row in result["limits"] for text in row["limits"]) or "no limits"
    hidden = {"key", "secrets", "warnings"}
    told = actions.lines({name: value for name, value in result.items() if name not in hidden})
    if "key" not in result:
        return told
    old = [secret for secret in result["secrets"] if secret["until"]]
    more = "".join(f"\nThe old one ({secret['begins']}) works until {secret['until']}." for secret in old)
    more += "".join(f"\nwarning: {text}" for text in result.get("warnings", ()))
    return f"{told}\n\nKey, shown only now: {result['key']}\nSend it with every request: Authorization: Bearer KEY{more}"
