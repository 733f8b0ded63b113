"""One operation of the admin API: its place, the action that its caller's role must include, what it takes, what it does.

READ FIRST in this folder. The tables in `customers`, `commerce` and `reports` hold all operations; routes, OpenAPI and the
authorisation matrix of the tests are made from them, so an operation without an action cannot exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgspec

from lode.app.access.roles import Principal
from lode.app.admin.pages import QUERY, Page, number
from lode.app.books.contracts import Store
from lode.app.contracts import RequestError
from lode.core.errors import BillingError

if TYPE_CHECKING:
    from lode.app.invoices.seller import Seller

Method = Literal["GET", "POST", "PATCH", "DELETE"]
BASE = "/admin/v1"
ORGANISATION = "organisation"
"""The part of a path that names a tenant: where it stands, the caller's role in that tenant decides."""


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a request holds. Unknown keys are an error; amounts are decimal text."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What operations work with. books: where they lie, as `open_books` takes it. seller: who sells, read anew each time."""

    store: Store
    books: str | None
    runs: Path
    pepper: bytes
    now_us: Callable[[], int]
    seller: Callable[[], Seller]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation, its caller already allowed. path: parts of the address. query: only those declared.

    page: what a list may answer with.
    """

    platform: Platform
    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    page: Page

    @property
    def organisation(self) -> str:
        """The tenant that the path names."""
        return self.path[ORGANISATION]

    @property
    def actor(self) -> str:
        """For the journal."""
        return self.principal.actor

    def seller(self) -> Seller:
        """Who sells. Errors: BillingError; RequestError 503 for customers, who need not know where our files lie."""
        try:
            return self.platform.seller()
        except BillingError:
            if self.principal.operator:
                raise
            text = "who sells is not written down yet. Ask the operator of this service."
            raise RequestError(503, "no_seller", text, headers=[(b"retry-after", b"600")]) from None

    def optional_number(self, name: str) -> int | None:
        """A whole number of the query, where it was given. Errors: BillingError."""
        return number(self.query, name, 1, 10**9 - 1) if name in self.query else None


@dataclass(frozen=True, slots=True)
class File:
    """An answer that is no JSON. content: all of it, or an open file, which is sent as it is read and then closed.

    name: under which a browser saves it; "" to show it, where no script of it runs.
    """

    media_type: str
    content: bytes | BinaryIO
    name: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """path: below BASE, parts in braces. action: of roles.ACTIONS. query: name -> what it means. tag: its chapter in the description.

    status: of a good answer. items: of a list, the key of its answer under which they stand; it is given in pages.
    files: media types of the answer, where it is no JSON. slow: whether it takes so long that others
    must not wait for it. Errors of `run`: BillingError and its kinds, RequestError.
    """

    method: Method
    path: str
    action: str
    summary: str
    run: Callable[[Call], dict[str, Any] | File]
    tag: str
    body: type[Body] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    items: str = ""
    files: tuple[str, ...] = ()
    slow: bool = False

    @property
    def queries(self) -> Mapping[str, str]:
        """All words of its query."""
        return {**self.query, **QUERY} if self.items else self.query

    @property
    def name(self) -> str:
        """operationId: "post_organisations_keys"."""
        parts = [part for part in self.path.split("/") if part and not part.startswith("{")]
        return "_".join([self.method.lower(), *parts]).replace("-", "_") + ("_one" if self.path.endswith("}") else "")

    @property
    def parts(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that were sent; what was left out stays as it is."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not msgspec.UNSET}
