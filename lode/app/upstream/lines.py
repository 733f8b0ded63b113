"""One provider over HTTP: a request goes out with the provider's key and nothing of the client's, and only its body comes back.

Only the configured address is called: no redirect, no proxy of the environment, no cookie. TLS is verified. What is read is bounded.
"""

from __future__ import annotations

from urllib.parse import quote

import aiohttp

from lode.app.contracts import RequestError
from lode.app.upstream.breaker import Breaker
from lode.app.upstream.calls import Call
from lode.app.upstream.counting import Counted, likely_tokens
from lode.app.upstream.errors import failure_of_status, passed_on
from lode.app.upstream.failure import TryError
from lode.pipeline.providers import Provider

_CONNECT_S = 10.0
_KEEP_S = 15.0
"""Idle connections are closed before usual servers close theirs: a request into a closing one may or may not be charged."""
_READ_BYTES = 1 << 16
_ERROR_BYTES = 1 << 16


def make_session(connections: int, timeout_s: float) -> aiohttp.ClientSession:
    """The connections to all providers. Made on the event loop."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=connections, keepalive_timeout=_KEEP_S)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=timeout_s, sock_connect=min(_CONNECT_S, timeout_s), sock_read=timeout_s),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_BYTES,
        skip_auto_headers=("User-Agent", "Accept"),
    )


class Line:
    """One provider, its breaker and its key."""

    def __init__(self, provider: Provider, secret: str):
        self.provider = provider
        self.breaker = Breaker()
        self.name = f"{provider.prices.provider}/{provider.model}"
        self.price_version = f"{provider.prices.provider}@{provider.prices.version}"
        self._secret = secret
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "lode"}
        if secret:
            self._headers["Authorization"] = f"Bearer {secret}"

    def __repr__(self) -> str:
        """Without the key."""
        return f"Line({self.name})"

    def cost(self, counted: Counted) -> int:
        """What the provider takes, 10^-12 of its currency."""
        return self.provider.prices.cost(self.provider.model, {"requests": 1, **counted.units()})

    async def open(self, session: aiohttp.ClientSession, call: Call) -> aiohttp.ClientResponse:
        """The answer's head, with status 200. The caller closes it.

        Errors: TryError where another provider may do better; RequestError for what is the client's own mistake.
        """
        try:
            response = await session.post(
                self._url(call), data=call.body(self.provider.model), headers=self._headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Nothing was sent, so nothing was charged.
            raise TryError("unreachable", f"cannot be reached ({type(error).__name__})") from None
        except aiohttp.ServerTimeoutError:
            raise TryError("timeout", "sent nothing in time", lost=asked_only(call)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TryError("dropped", f"dropped the connection ({type(error).__name__})", lost=asked_only(call)) from None
        if response.status == 200 and response.headers.get("Content-Encoding", "identity") == "identity":
            return response
        try:
            raise await self._refused(response, call)
        finally:
            response.close()

    def _url(self, call: Call) -> str:
        provider = self.provider
        return provider.address + (call.path or f"/models/{quote(provider.model, safe='')}/infer")

    async def _refused(self, response: aiohttp.ClientResponse, call: Call) -> RequestError | TryError:
        """What an answer that is none means."""
        if response.status == 200:
            return TryError("garbage", "answered in an encoding that was not asked for", lost=asked_only(call))
        if response.status in passed_on:
            text = await _start_of(response)
            return passed_on[response.status](text, self._secret, self.provider.model, call.asked)
        return failure_of_status(response.status, response.headers.get("Retry-After"))


def asked_only(call: Call) -> Counted:
    """What a try took of which nothing came back: most likely its prompt was read, and charged."""
    return Counted(input_tokens=likely_tokens(call.input_bytes), rows=call.rows, estimated=not call.rows)


async def read_whole(response: aiohttp.ClientResponse, call: Call, most_bytes: int) -> bytes:
    """The body. Errors: TryError where it is cut, too slow or too large; it was most likely charged."""
    parts, size = list[bytes](), 0
    try:
        while part := await response.content.readany():
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise TryError("too_large", f"answered with more than {most_bytes:,} bytes", lost=_with(call, size))
    except aiohttp.ServerTimeoutError:
        raise TryError("timeout", "stopped in the middle", lost=_with(call, size)) from None
    except (aiohttp.ClientError, OSError) as error:
        raise TryError("cut", f"cut its answer off ({type(error).__name__})", lost=_with(call, size)) from None
    finally:
        response.release()
    return b"".join(parts)


def _with(call: Call, answer_bytes: int) -> Counted:
    found = asked_only(call)
    if call.output_most:
        found.output_tokens = min(likely_tokens(answer_bytes), call.output_most)
    return found


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body, b"" where none comes."""
    try:
        return await response.content.read(_ERROR_BYTES)
    except (aiohttp.ClientError, OSError):
        return b""
