"""`lode admin`: the admin API as a process of its own, with the books and the pepper of the servers; no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lode.app.access.credentials import stored_pepper
from lode.app.access.setup import access_of
from lode.app.admin.contracts import Platform
from lode.app.admin.service import AdminOptions, create_admin_app
from lode.app.books.open import open_books
from lode.app.invoices import seller
from lode.app.listening import listen, run_app

_SELLER = "seller.toml"


def clock_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def admin(
    runs: Path, options: AdminOptions, tell: Callable[[str], None], *, books: str | None = None, access: Path | None = None,
    pepper_file: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Serve until SIGTERM or SIGINT; {"url", "requests", "seconds"}.

    books: location, None for RUNS/books.sqlite. access: how people log in, None for RUNS/access.toml, or keys only where that does not
    exist. Errors: ServeError for the address, the pepper and the access file; BooksError.
    """
    configured = access_of(runs, access)
    with listen(options) as listener, open_books(books, runs) as store:
        pepper = stored_pepper(runs, pepper_file)
        platform = Platform(store, books, runs, pepper, clock_us, lambda: seller.read(runs / _SELLER))
        app = create_admin_app(platform, configured, options)
        address, port = listener.getsockname()[:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
        tell(f"Admin API at {url}/admin/v1, described at {url}/admin/openapi.json")
        ways = [word for word, section in (("OpenID Connect", configured.oidc), ("LDAP", configured.ldap)) if section is not None]
        tell(f"Logins: {' and '.join(ways) or 'none, keys only'}.")
        started = time.monotonic()
        answered = run_app(app, options, listener)
    return {"url": url, "requests": answered, "seconds": round(time.monotonic() - started, 3)}
