"""The family that somebody else trained and runs: nothing is fitted here, its words say where it is reached and what it costs.

Packaged by `lode/pipeline/upstream.py`, answered by `lode/app/upstream/`. This layer knows no web: there is the signature only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import numpy as np

from lode.core.errors import ModelError
from lode.core.types import FilePath, Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task


class Upstream(Family):
    """Somebody else's model behind an address: the same keys, limits, ledger and invoices as for a model of your own.

    Args:
        address: Where it is reached, up to and with the version: https://api.example.com/v1. Redirects are refused.
        model: What the provider calls it.
        prices: The provider's price list, a TOML file; packaged with the model, so that every cost names its version.
        protocol: What the provider speaks: OpenAI's chat, completions and embeddings, or the Open Inference Protocol v2 for rows.
        key: Where the provider's key is: file, a text that only you may read; name, the field in it where the file is a JSON object.
        fallback: Other providers, asked in turn where the first one fails: address, model, prices, protocol, key.
        timeout_s: Seconds until a provider that sends nothing is given up.
        retries: Requests that may follow a failed one, each to the next provider that is not known to be down.
        connections: Connections to each provider that are kept at most; more requests wait.
        max_tokens: Tokens of an answer where the client says nothing; the money for them is set aside before the provider is asked.
        max_tokens_word: How the provider's chat wants to be told of them; newer models of OpenAI take max_completion_tokens only.
    """

    kinds = ("upstream",)
    needs = "nothing"
    loop = False

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        address: str,
        model: str,
        prices: FilePath,
        protocol: Literal["openai", "open_inference"] = "openai",
        key: dict[Literal["file", "name"], str] | None = None,
        fallback: list[dict[Literal["address", "model", "prices", "protocol", "key"], str | dict[Literal["file", "name"], str]]]
        | None = None,
        timeout_s: Annotated[float, Range(0, 3600, open_low=True)] = 60.0,
        retries: Annotated[int, Range(0, 10)] = 2,
        connections: Annotated[int, Range(1, 10_000)] = 100,
        max_tokens: Annotated[int, Range(1, 10_000_000)] = 1024,
        max_tokens_word: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
    ) -> None:
        self.address = address

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        return self._elsewhere()

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        return self._elsewhere()

    def cost(self) -> Cost:
        """Nothing of it lies here; what requests cost stands in the provider's price list."""
        return Cost(0, 0, 0)

    def save(self, folder: Path) -> None:
        """There is nothing to save."""

    def load(self, folder: Path) -> None:
        """There is nothing to read."""

    def _elsewhere(self) -> NoReturn:
        raise ModelError(
            f"model upstream: {self.address} is somebody else's model, which is only served, not fitted among others. "
            "Use it alone, `model: {type: upstream, ...}`, and `lode serve`."
        )
