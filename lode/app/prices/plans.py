"""Plans in the books: added once, never changed; a price edit is a new version. And which plan new customers begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.prices.plan import Plan, make
from lode.core.check import Finding, dotted
from lode.core.errors import BillingError, ConflictError, NotFoundError, near_miss

KIND = "plan"
SETTING, DEFAULT = "setting", "default_plan"
CORRECTION = "correction"
"""Kind of the document that says which version corrects another one; its id is that of the wrong one."""


def add(store: Store, actor: str, plan: Plan, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Register a version. The same once more changes nothing.

    Errors: ConflictError where this version has another content, naming the differences.
    """

    def work(session: Session) -> dict[str, Any]:
        known = journal.document(session, KIND, plan.id)
        if known is not None:
            if known.body["hash"] != plan.hash:
                found = "; ".join(differences(known.body["plan"], plan.record))
                raise ConflictError(
                    f"plan {plan.id}: found {found}, allowed: the content it was added with, because customers are billed by it. "
                    f"Write version = {plan.version + 1}."
                )
            return {**shown(plan), "added": False}
        body = {"plan": dict(plan.record), "hash": plan.hash, "added_us": now_us()}
        journal.append(session, [Act("plan.add", actor, documents=(Document(KIND, plan.id, "", body),))], now_us())
        return {**shown(plan), "added": True}

    return store.transact(work)


def add_record(store: Store, actor: str, record: Mapping[str, Any], *, now_us: Callable[[], int]) -> dict[str, Any]:
    """The same for a plan that came as JSON, with the keys of the file. Errors: BillingError naming every problem of it."""
    return add(store, actor, read_record(record), now_us=now_us)


def read_record(record: Mapping[str, Any]) -> Plan:
    """A plan that came as JSON. Errors: BillingError naming every problem of it."""
    findings: list[Finding] = []
    plan = make(record, findings)
    if plan is None:
        raise BillingError("\n".join(f"{dotted(item.key)}: {item.text}" for item in findings))
    return plan


def found(session: Session, name: str, version: int | None = None) -> Plan:
    """A plan, its newest version where none is named. Errors: NotFoundError with the near miss."""
    document = journal.document(session, KIND, f"{name}@{version}") if version is not None else None
    if document is None:
        known = versions(session)
        if name not in known:
            near = near_miss(name, known)
            raise NotFoundError(f'plan: found "{name[:60]}", which was never added.{near} See `lode plans list`.')
        if version is not None:
            has = ", ".join(str(number) for number in known[name])
            raise NotFoundError(f'plan: found version {version} of "{name}", allowed: {has}. Choose one.')
        document = journal.document(session, KIND, f"{name}@{known[name][-1]}")
    assert document is not None
    return Plan.of(document.body["plan"])


def versions(session: Session) -> dict[str, list[int]]:
    """Name -> versions, ascending."""
    known: dict[str, list[int]] = {}
    for (id,) in session.rows("SELECT id FROM documents WHERE kind = ?", (KIND,)):
        name, _, number = str(id).rpartition("@")
        known.setdefault(name, []).append(int(number))
    return {name: sorted(known[name]) for name in sorted(known)}


def set_default(store: Store, actor: str, name: str, version: int | None = None, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """The plan that organisations begin with from now on; those that exist keep what they have. Errors: BillingError."""

    def work(session: Session) -> dict[str, Any]:
        plan = found(session, name, version)
        body = {"plan": plan.name, "version": plan.version}
        journal.append(session, [Act("setting.set", actor, documents=(Document(SETTING, DEFAULT, "", body),))], now_us())
        return {"default": plan.id}

    return store.transact(work)


def default(session: Session) -> Plan | None:
    """The plan that new organisations begin with; None where there is none."""
    document = journal.document(session, SETTING, DEFAULT)
    return None if document is None else found(session, document.body["plan"], document.body["version"])


def listed(store: Store) -> dict[str, Any]:
    """Every version of every plan."""
    with store.view() as session:
        documents = journal.documents(session, KIND)
        first = journal.document(session, SETTING, DEFAULT)
        corrected = {item.id: item.body for item in journal.documents(session, CORRECTION)}
    plans = sorted((Plan.of(item.body["plan"]) for item in documents), key=lambda plan: (plan.name, plan.version))
    chosen = None if first is None else f"{first.body['plan']}@{first.body['version']}"
    return {"plans": [summary(plan, corrected.get(plan.id)) for plan in plans], "default": chosen}


def show(store: Store, name: str, version: int | None = None) -> dict[str, Any]:
    """One version, whole. Errors: BillingError."""
    with store.view() as session:
        return shown(found(session, name, version))


def summary(plan: Plan, corrected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One line of a list. corrected: by which version its price was, from which day on ("" for always)."""
    found = corrected or {"by": "", "since": ""}
    return {
        "plan": plan.name,
        "version": plan.version,
        "currency": plan.currency,
        "period": plan.period,
        "fees": [fee.name for fee in plan.fees],
        "charges": [f"{item.name} ({item.type})" for item in plan.charges],
        "corrected_by": found["by"],
        "corrected_from": found["since"],
    }


def shown(plan: Plan) -> dict[str, Any]:
    """For JSON: what the books hold."""
    return {"plan": dict(plan.record), "hash": plan.hash, "warnings": list(plan.warnings)}


def differences(known: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`charges[0].price: "2" instead of "1"` for each, at most eight."""
    found_all = list(_different(known, new, ()))
    more = [f"and {len(found_all) - 8} more"] if len(found_all) > 8 else []
    return found_all[:8] + more


def _different(known: Any, new: Any, key: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(known, Mapping) and isinstance(new, Mapping):
        for name in sorted({*known, *new}):
            yield from _different(known.get(name), new.get(name), (*key, name))
    elif isinstance(known, list) and isinstance(new, list) and len(known) == len(new):
        for place, (old, now) in enumerate(zip(known, new, strict=True)):
            yield from _different(old, now, (*key, place))
    elif known != new:
        yield f"{dotted(key)}: {_quoted(new)} instead of {_quoted(known)}"


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    return "nothing" if value is None else f'"{value}"'
