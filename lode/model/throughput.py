"""How fast a model learns: tokens a second, and what share of the machine's arithmetic that is (model-FLOPs utilisation).

Chowdhery 2022 (PaLM, arXiv 2204.02311, appendix B): only operations that the model needs count, whatever is computed twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from lode.core import hardware

_SIDE, _TURNS = 1024, 5


class Meter:
    """Counts what the loop tells it; reads no tensor, so that nobody waits for the device.

    tokens_per_row: positions that a row has on average. flops_per_token: of forward and backward pass. processes: how many share the
    work, a device each. A processor's peak is measured at the first figure, with as many threads as training has.
    """

    def __init__(self, tokens_per_row: float, flops_per_token: float, device: str, precision: str, processes: int = 1) -> None:
        self.tokens_per_row, self.flops_per_token = tokens_per_row, flops_per_token / processes
        self._precision, self._is_processor, self._peak_flops_s = precision, device == "cpu", peak_flops(device, precision)
        self._tokens, self._seconds, self._round = 0.0, 0.0, (0.0, 0.0)

    def add(self, rows: int, seconds: float) -> dict[str, float]:
        """Rows of some steps and what they took; their figures."""
        tokens = rows * self.tokens_per_row
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds
        self._round = self._round[0] + tokens, self._round[1] + seconds
        return self._figures(tokens, seconds)

    def round(self) -> dict[str, float]:
        """Figures since the last call."""
        (tokens, seconds), self._round = self._round, (0.0, 0.0)
        return self._figures(tokens, seconds)

    def total(self) -> dict[str, float]:
        """Figures of everything that was added."""
        return self._figures(self._tokens, self._seconds)

    def _figures(self, tokens: float, seconds: float) -> dict[str, float]:
        if seconds <= 0:
            return {}
        rate = tokens / seconds
        peak = self._peak()
        return {"tokens_per_s": rate} | ({} if peak is None else {"mfu": rate * self.flops_per_token / peak})

    def _peak(self) -> float | None:
        if self._peak_flops_s is None and self._is_processor:
            self._peak_flops_s = measured_peak(self._precision)
        return self._peak_flops_s


def peak_flops(device: str, precision: str) -> float | None:
    """Operations a second that the maker of a GPU states for matrix products (`lode/core/hardware.toml`); None for one that lode does not
    know, and for a processor, which is measured.
    """
    if not device.startswith("cuda"):
        return None
    said = torch.cuda.get_device_name(torch.device(device)).lower()
    fitting = [found for name, found in hardware.known().items() if all(word in said for word in name.split("-"))]
    if not fitting:
        return None
    return max(fitting, key=lambda found: len(found.name)).peak.get(precision)


def measured_peak(precision: str) -> float:
    """Operations a second of this processor's matrix product at its best of some turns, with the threads that torch has now.

    The faster of torch's own product and oneDNN's, which decoders use (`lode/model/language/products.py`): nothing passes its own peak.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    products: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [torch.mm]
    if torch.backends.mkldnn.is_available():
        products.append(lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        a, b = (torch.full((_SIDE, _SIDE), 0.5, dtype=dtype) for _ in range(2))
        best_s = min(_seconds(product, a, b) for _ in range(_TURNS) for product in products)
    return 2.0 * _SIDE**3 / best_s


def _seconds(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> float:
    start_s = time.perf_counter()
    product(a, b)
    return time.perf_counter() - start_s
