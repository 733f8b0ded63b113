"""How fast a decoder can answer at most, and what its tokens cost then.

Each new token reads every weight once, and the keys and values of its context: a device cannot be faster than its memory
(Pope 2022, arXiv 2211.05102, section 3). An A100 reaches 77 % of this floor with one stream; engines reach 60 to 80 %.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from lode.core.hardware import Device
from lode.model.planning import decoder
from lode.model.planning.memory import ADMITTED
from lode.model.shape import Shape


@dataclass(frozen=True, slots=True)
class Serving:
    """On one device. floor_s: least seconds of a token of one stream. sequences: that fit beside the weights, with full contexts.

    batch_tokens_s: ceiling of all of them together. bound: what holds it there. price_per_million: of generated tokens at that ceiling.
    """

    weight_bytes: float
    cache_bytes_per_token: int
    context: int
    floor_s: float
    tokens_s: float
    sequences: int
    batch_tokens_s: float
    bound: str
    price_per_million: Decimal | None

    def to_json(self) -> dict[str, Any]:
        price = None if self.price_per_million is None else str(self.price_per_million)
        return {**asdict(self), "price_per_million": price}


def serving(shape: Shape, device: Device, precision: str, number_bytes: int, context: int | None = None) -> Serving:
    """With weights and cache in numbers of so many bytes. context: tokens before a new one; the whole context where it is None."""
    context = shape.context if context is None else context
    total = float(sum(decoder.parameters(shape).values()) * number_bytes)
    # Looked-up rows of an untied embedding and idle experts are not read for one token
    read = float(decoder.multiplied(shape) * number_bytes)
    cache = decoder.cache_bytes(shape, number_bytes)
    operations = decoder.decoding_flops(shape, context) / device.peak[precision]
    floor_s = max((read + cache * context) / device.bandwidth_bytes_s, operations)
    sequences = max(0, int((ADMITTED * device.memory_bytes - total) / (cache * context)))
    many = max(sequences, 1)
    # So many tokens at once leave no expert idle
    moved_s = ((total if shape.experts else read) + many * cache * context) / device.bandwidth_bytes_s
    step_s = max(moved_s, many * operations)
    rate = sequences / step_s
    bound = "none fits" if not sequences else "memory bandwidth" if moved_s >= many * operations else "arithmetic"
    price = None
    if device.price is not None and rate:
        price = (device.price.per_hour / 3600 / Decimal(rate) * 1_000_000).quantize(Decimal("0.0001"))
    return Serving(
        total, cache, context, floor_s, 1.0 / floor_s if total <= device.memory_bytes else 0.0, sequences, rate, bound, price
    )
