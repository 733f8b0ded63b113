"""Sessions of people: a random word in a cookie, its hash in the books; what a login left pending, in a signed cookie.

Cookies are HttpOnly, SameSite=Lax, Secure (but on this machine's own http address), and end with the session.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from lode.app.access import identities, members
from lode.app.access.credentials import digest_hex
from lode.app.access.identities import Identity
from lode.app.access.roles import Principal
from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.contracts import RequestError
from lode.core.errors import BillingError, ConflictError

KIND = "session"
_LONGEST_COOKIES = 8192
_TOKEN_LENGTH = 43


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody with a session. csrf: what a request that changes something must bring in `X-CSRF-Token`."""

    principal: Principal
    csrf: str
    name: str
    email: str
    until_us: int


def open_session(
    store: Store, identity: Identity, *, reference: str, replaces: str, hours: float, now_us: Callable[[], int]
) -> str:
    """Begin a session; the word for the cookie. The books remember who came, when, and by which provider.

    reference: of this login, once for ever ("" where logins have none). replaces: an older session's word, which ends.
    Errors: RequestError 401 for a login that was used before, 403 for somebody nobody invited.
    """
    token = secrets.token_urlsafe(32)

    def work(session: Session) -> None:
        now = now_us()
        user, is_news = identities.known(session, identity, now)
        body = {
            "user": user.id, "issuer": identity.issuer, "roles": dict(identity.roles), "operator": identity.operator,
            "status": "open", "logins": members.logins(user), "until_us": now + int(hours * 3_600_000_000),
        }  # fmt: skip
        new = Document(KIND, digest_hex(token), "", body)
        documents = (new, *_ended(session, replaces), *((user,) if is_news else ()))
        act = Act("user.login", f"user:{user.id}", reference=reference, fingerprint=new.id, documents=documents)
        (result,) = journal.append(session, [act], now)
        if isinstance(result, ConflictError):
            raise RequestError(401, "login_refused", "this login was used before. Begin again.")
        if isinstance(result, BillingError):
            raise result

    store.transact(work)
    return token


def close_session(store: Store, token: str, *, now_us: Callable[[], int]) -> str:
    """End it, in every process at once; who vouched for the person. "" for one that is unknown or ended, which is no error."""

    def work(session: Session) -> str:
        ended = _ended(session, token)
        if not ended:
            return ""
        journal.append(session, [Act("user.logout", f"user:{ended[0].body['user']}", documents=ended)], now_us())
        return str(ended[0].body["issuer"])

    return store.transact(work)


def signed_in(session: Session, token: str, now_us: int) -> SignedIn:
    """Whose session it is, with the roles of this moment. Errors: RequestError 401 where it is unknown, ended or over."""
    found = journal.document(session, KIND, digest_hex(token)) if len(token) == _TOKEN_LENGTH else None
    if found is None or found.body["status"] != "open" or found.body["until_us"] <= now_us:
        raise RequestError(401, "no_session", "you are not logged in, or no longer. Log in at /admin/login.")
    user = journal.document(session, members.USER, found.body["user"])
    if user is None or user.body["status"] != "active" or found.body.get("logins", 0) != members.logins(user):
        raise RequestError(401, "no_session", "your access has ended.")
    principal = identities.principal_of(user, found.body["roles"], found.body["operator"])
    return SignedIn(principal, csrf_of(token), user.body["name"], user.body["email"], found.body["until_us"])


def csrf_of(token: str) -> str:
    """The word against cross-site requests: it follows from the cookie's, and the cookie's does not follow from it."""
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def cookie_in(header: bytes | None, name: str) -> str:
    """A cookie's value; "" where there is none, or the header is too long. Other cookies may look as they like, ours hold no quotes."""
    if not header or len(header) > _LONGEST_COOKIES:
        return ""
    pairs = (part.strip().partition("=") for part in header.decode("latin-1").split(";"))
    return next((value for key, _, value in pairs if key == name and value.isascii()), "")


def set_cookie(name: str, value: str, *, secure: bool, max_age_s: int) -> tuple[bytes, bytes]:
    """The header that sets a cookie; an age of 0 takes it away."""
    parts = [f"{name}={value}", "Path=/", f"Max-Age={max_age_s}", "HttpOnly", "SameSite=Lax"]
    return b"set-cookie", "; ".join([*parts, "Secure"] if secure else parts).encode()


def sealed(value: Any, pepper: bytes) -> str:
    """A dataclass as text that only this server can have written. Readable: it goes to the browser whose login it is."""
    body = base64.urlsafe_b64encode(orjson.dumps(asdict(value))).rstrip(b"=")
    return f"{body.decode()}.{_seal(body, pepper)}"


def unsealed(text: str, pepper: bytes) -> dict[str, Any] | None:
    """What `sealed` wrote; None for anything else."""
    body, _, seal = text.partition(".")
    if not hmac.compare_digest(_seal(body.encode(), pepper).encode(), seal.encode()):
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        return None
    return found if isinstance(found, dict) else None


def _seal(body: bytes, pepper: bytes) -> str:
    return hmac.digest(pepper, b"lode login|" + body, "sha256").hex()


def _ended(session: Session, token: str) -> tuple[Document, ...]:
    found = journal.document(session, KIND, digest_hex(token)) if len(token) == _TOKEN_LENGTH else None
    if found is None or found.body["status"] != "open":
        return ()
    return (Document(KIND, found.id, "", {**found.body, "status": "ended"}),)
