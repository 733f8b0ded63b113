"""Customers: organisations with their projects, people and service accounts.

lode customers add acme --name "Acme GmbH" --currency EUR --zone Europe/Berlin
lode customers user jo@acme.example --organisation acme --role developer
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import opened, runs_folder

_HIDDEN = ("created_us",)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    made = actions.Actions(parser)
    new = made.add("add", _add, "a new customer; currency and short name never change")
    new.add_argument("organisation", metavar="NAME", help="short name: a-z, 0-9 and -, at most 40")
    new.add_argument("--currency", required=True, metavar="EUR", help="in which it pays: three letters of ISO 4217")
    new.add_argument("--own", action="store_true", help="our own traffic (evaluation, health): a cost, never revenue")
    _fields(new)
    made.add("list", _list, "all customers")
    made.add("show", _show, "one customer, and all that belongs to it").add_argument("organisation", metavar="NAME")
    change = made.add("change", _change, "change what may change")
    change.add_argument("organisation", metavar="NAME")
    _fields(change)
    for name, help in (
        ("suspend", "refuse its calls until `resume`"), ("resume", "take its calls again"), ("close", "end it, for ever; its books stay"),
    ):  # fmt: skip
        one = made.add(name, _status, help)
        one.add_argument("organisation", metavar="NAME")
        one.add_argument("--reason", default="", metavar="TEXT", help="why, for the books")
    for name, help in (("project", "add or close a project"), ("account", "add or close a service account (a machine)")):
        one = made.add(name, _project if name == "project" else _account, help)
        one.add_argument("organisation", metavar="NAME")
        one.add_argument("name", nargs="?", metavar="TITLE", help="of the new one")
        one.add_argument("--close", metavar="ID", help="refuse its keys from now on")
        if name == "account":
            one.add_argument("--role", default="service", help="what its keys may do at most (default: service)")
    user = made.add("user", _user, "give a person a role, or take it away; refuse a login")
    user.add_argument("person", metavar="EMAIL", help="or the id, usr_...")
    user.add_argument("--name", help="of the person")
    user.add_argument("--organisation", metavar="CUSTOMER", help="where the role holds")
    role = user.add_mutually_exclusive_group(required=True)
    role.add_argument("--role", help="owner, admin, developer, billing, viewer; none takes it away")
    role.add_argument(
        "--operator", metavar="ROLE", help="on the whole platform: operator, finance, support, auditor; none takes it away"
    )
    role.add_argument(
        "--login", metavar="WORD", help="forget (the next one ties it anew), refuse, allow or end; each ends all open sessions"
    )
    access = made.add("access", _access, "try out access.toml: do the servers for logins answer?")
    access.add_argument("--access", type=Path, metavar="FILE", help="how people log in (default: access.toml in runs)")


def _fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="TITLE", help="full name, as on invoices")
    parser.add_argument("--zone", help="time zone of its days and months (default: UTC)")
    parser.add_argument("--address", action="append", metavar="LINE", help="a line of the address on invoices; may be repeated")
    parser.add_argument("--country", metavar="DE", help="two letters of ISO 3166, for taxes; US-CA for a part of one")
    parser.add_argument("--tax-id", metavar="ID", help="its number at the tax office")
    parser.add_argument("--email", help="where invoices go")
    parser.add_argument("--payment", choices=("invoice", "prepaid"), help="prepaid: no calls without credit (default: invoice)")
    parser.add_argument("--credit-line", metavar="AMOUNT", help="how far prepaid credit may go below zero (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Perform the action."""
    return actions.run(args)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    names = ("name", "zone", "address", "country", "tax_id", "email", "payment", "credit_line")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _add(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import organisations

    fields = {**_given(args), "currency": args.currency, "kind": "own" if args.own else "customer"}
    with opened(args, make=True) as store:
        return organisations.add(store, actions.ACTOR, args.organisation, fields, now_us=actions.clock_us)


def _change(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import organisations

    with opened(args) as store:
        return organisations.change(store, actions.ACTOR, args.organisation, _given(args), now_us=actions.clock_us)


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import organisations

    with opened(args) as store:
        return organisations.listed(store)


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import limits, members, organisations
    from lode.app.prices import subscriptions

    with opened(args) as store:
        found = organisations.show(store, args.organisation)
        inside = {**members.inside(store, args.organisation), **limits.show_limits(store, args.organisation)}
        return {**found, **subscriptions.listed(store, args.organisation), **inside}


def _status(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import organisations

    with opened(args) as store:
        if args.action == "resume":
            return organisations.resume(store, actions.ACTOR, args.organisation, now_us=actions.clock_us)
        verb = organisations.suspend if args.action == "suspend" else organisations.close
        return verb(store, actions.ACTOR, args.organisation, args.reason, now_us=actions.clock_us)


def _titled(args: argparse.Namespace) -> str:
    """The title of a new project or account. Errors: BillingError where there is none."""
    from lode.core.errors import BillingError

    if args.name is None:
        raise BillingError(
            f"lode customers {args.action}: found no TITLE, wanted one of a new {args.action}, or --close ID. "
            f"Those that are there: lode customers show {args.organisation}."
        )
    return str(args.name)


def _project(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import members

    with opened(args) as store:
        if args.close is not None:
            return members.close_project(store, actions.ACTOR, args.organisation, args.close, now_us=actions.clock_us)
        return members.add_project(store, actions.ACTOR, args.organisation, _titled(args), now_us=actions.clock_us)


def _account(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import members

    with opened(args) as store:
        if args.close is not None:
            return members.close_account(store, actions.ACTOR, args.organisation, args.close, now_us=actions.clock_us)
        return members.add_account(store, actions.ACTOR, args.organisation, _titled(args), args.role, now_us=actions.clock_us)


def _user(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import members
    from lode.core.errors import BillingError

    if args.role is not None and args.organisation is None:
        raise BillingError("lode customers user: found --role without --organisation, wanted both. Say where the role holds.")
    word = next(word for word in ("role", "operator", "login") if getattr(args, word) is not None)
    value = getattr(args, word)
    fields = {"id" if args.person.startswith("usr_") else "email": args.person, word: "" if value == "none" else value}
    fields |= {key: getattr(args, key) for key in ("name", "organisation") if getattr(args, key) is not None}
    with opened(args, make=True) as store:
        return members.set_user(store, actions.ACTOR, fields, now_us=actions.clock_us)


def _access(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import setup

    return setup.tried(setup.access_of(runs_folder(args), args.access))


def show(result: dict[str, Any]) -> str:
    """A table, or one thing line by line."""
    if "organisations" in result:
        words = ("organisation", "status", "currency", "zone", "name")
        rows = [[item[word] for word in words] for item in result["organisations"]]
        return actions.columns([words, *rows]) if rows else "no customers yet. Add one: lode customers add NAME --currency EUR"
    if "subscriptions" in result:
        held = [
            {
                "plan": actions.versions(item),
                "from": f"since {item['since']}",
                "to": f"until {item['until'] or 'cancelled'}",
            }
            for item in result["subscriptions"]
        ]
        result = {**result, "subscriptions": held}
    tables = {"projects", "accounts", "users", "limits", "subscriptions"}
    text = actions.lines({key: _cell(value) for key, value in result.items() if key not in tables and key not in _HIDDEN})
    for key in sorted(tables & set(result)):
        rows = [[_cell(value) for name, value in item.items() if name not in (*_HIDDEN, "organisation")] for item in result[key]]
        text += f"\n\n{key}\n{actions.columns(rows)}" if rows else ""
    return text


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
