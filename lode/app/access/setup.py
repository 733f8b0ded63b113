"""From `access.toml` to something that knows who sends a request, and the routes of login. The one place that needs the extra `access`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lode.app.access.authentication import Authenticator
from lode.app.access.options import FILE, Access, read_access
from lode.core.errors import ServeError
from lode.core.packages import missing

if TYPE_CHECKING:
    from starlette.routing import Route

    from lode.app.access.directory import Directory
    from lode.app.books.contracts import Store


def access_of(runs: Path, named: Path | None = None) -> Access:
    """What the file `named` says, else `runs/access.toml`; where that does not exist, nobody can log in and keys are all there is.

    Errors: ServeError that lists every problem.
    """
    path = named or runs / FILE
    return Access() if named is None and not path.exists() else read_access(path)


def set_up(
    access: Access, store: Store, directory: Callable[[], Directory], pepper: bytes, *, now_us: Callable[[], int]
) -> tuple[Authenticator, Sequence[Route]]:
    """Who asks, and the routes of login, to be mounted at the root.

    Errors: MissingPackageError where logins are configured and their packages are not installed.
    """
    if access.oidc is None and access.ldap is None:
        return Authenticator(store, directory, pepper, now_us), ()
    try:
        from lode.app.access.ldap import Ldap
        from lode.app.access.login import Login
        from lode.app.access.oidc import Oidc
    except ModuleNotFoundError as error:
        raise missing(FILE, error) from None
    oidc, secure = None, True
    if access.oidc is not None:
        oidc = Oidc(access.oidc, access.client_secret, now_s=lambda: now_us() // 1_000_000)
        secure = access.oidc.redirect.startswith("https:")
    authenticator = Authenticator(store, directory, pepper, now_us, secure, oidc)
    server = Ldap(access.ldap, access.bind_password) if access.ldap is not None else None
    return authenticator, Login(access, authenticator, server).routes()


def tried(access: Access) -> dict[str, Any]:
    """Ask the configured servers once whether they can be used. Errors: ServeError that says what is wrong."""
    try:
        from lode.app.access.ldap import Ldap
        from lode.app.access.oidc import Oidc
    except ModuleNotFoundError as error:
        raise missing(FILE, error) from None
    if access.oidc is not None:
        asyncio.run(Oidc(access.oidc, access.client_secret).try_out())
    if access.ldap is not None:
        Ldap(access.ldap, access.bind_password).connect()
    if access.oidc is None and access.ldap is None:
        raise ServeError(
            f"{FILE}: found no section oidc or ldap, allowed: one at least. See docs/how-to/log-in-with-oidc-or-ldap.md."
        )
    return {
        "oidc": access.oidc.issuer if access.oidc else None,
        "ldap": access.ldap.address if access.ldap else None,
    }
