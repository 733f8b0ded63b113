"""Rates: token buckets in memory, by the monotonic clock. Each of N processes on the same books gives out a part, 1/N.

A bucket holds `burst` units and fills at `amount` per window. A request is let in where there is room for it, or where the
bucket is as full as it gets: what is larger than a bucket then leaves it in debt, and so passes as often as the rate allows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from lode.app.contracts import Limit, RequestError

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_MOST_BUCKETS = 65536

Named = tuple[str, Limit]
"""A limit with its name, which takes time to make."""

Headers = tuple[tuple[bytes, bytes], ...]


class Bucket:
    """One limit's, as one of `share` processes has it. level: units that may be taken now; below 0 is debt. size: the most."""

    __slots__ = ("at_s", "level", "limit", "per_s", "share", "size")

    def __init__(self, limit: Limit, at_s: float, share: int):
        self.limit = limit
        self.at_s = at_s
        self.fit(share)
        self.level = self.size

    def fit(self, share: int) -> None:
        """There are so many processes now."""
        self.share = share
        self.size = (self.limit.burst or self.limit.amount) / share
        self.per_s = self.limit.amount / share / _SECONDS[self.limit.window]


class Rates:
    """All buckets of one process. clock_s: monotonic seconds. share: how many processes there are."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic):
        self._clock_s = clock_s
        self._buckets: dict[str, Bucket] = {}
        self.share = 1

    def take(self, limits: Sequence[Named], units: Mapping[str, int]) -> list[tuple[Bucket, int]]:
        """Take a request's units out of every bucket, or out of none.

        Errors: RequestError 429, with Retry-After and the RateLimit headers.
        """
        now_s, taken = self._clock_s(), list[tuple[Bucket, int]]()
        for name, limit in limits:
            count = units.get(limit.unit, 0)
            if not count:
                continue
            bucket = self._filled(name, limit, now_s)
            if bucket.level < count and bucket.level < bucket.size:
                raise self._refusal(bucket, count)
            taken.append((bucket, count))
        for bucket, count in taken:
            bucket.level -= count
        return taken

    def give_back(self, taken: Sequence[tuple[Bucket, int]], units: Mapping[str, int]) -> None:
        """What a request did not take after all; what it took beyond (compute time) is debt. units: what it took."""
        for bucket, count in taken:
            bucket.level = min(bucket.size, bucket.level + count - units.get(bucket.limit.unit, 0))

    def _filled(self, name: str, limit: Limit, now_s: float) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None or (bucket.limit is not limit and bucket.limit != limit):
            bucket = self._new(name, limit, now_s, bucket)
        elif bucket.share != self.share:
            bucket.fit(self.share)
        bucket.level = min(bucket.size, bucket.level + (now_s - bucket.at_s) * bucket.per_s)
        bucket.at_s = now_s
        return bucket

    def _new(self, name: str, limit: Limit, now_s: float, before: Bucket | None) -> Bucket:
        """A full bucket; where a limit was changed, one as full as the old one is."""
        if len(self._buckets) >= _MOST_BUCKETS:
            full = [name for name, bucket in self._buckets.items() if now_s - bucket.at_s > _SECONDS[bucket.limit.window]]
            for old in full or list(self._buckets)[: _MOST_BUCKETS // 2]:
                del self._buckets[old]
        bucket = self._buckets[name] = Bucket(limit, now_s, self.share)
        if before is not None:
            before.fit(self.share)
            bucket.level = bucket.size * before.level / before.size
        return bucket

    def _headers(self, bucket: Bucket) -> Headers:
        """draft-ietf-httpapi-ratelimit-headers."""
        limit = bucket.limit
        name, window_s = f"{limit.subject.partition('/')[0]}-{limit.unit}", int(_SECONDS[limit.window])
        missing = bucket.size - bucket.level
        policy = f'"{name}";q={int(bucket.size)};w={window_s}'.encode()
        rest = f'"{name}";r={max(0, int(bucket.level))};t={math.ceil(max(0.0, missing) / bucket.per_s)}'
        return (b"ratelimit-policy", policy), (b"ratelimit", rest.encode())

    def _refusal(self, bucket: Bucket, count: int) -> RequestError:
        limit = bucket.limit
        missing = min(count, bucket.size) - bucket.level
        wait_s = max(1, math.ceil(missing / bucket.per_s))
        shared = f", of which this process gives out 1/{self.share}" if self.share > 1 else ""
        whose = limit.subject.partition("/")[0]
        text = f"{whose}: at most {limit.amount} {limit.unit} per {limit.window}{shared}. Try again in {wait_s} s."
        return RequestError(429, "rate_limited", text, headers=[(b"retry-after", str(wait_s).encode()), *self._headers(bucket)])
