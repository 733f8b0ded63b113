"""Rules of `model: {type: upstream, ...}` that its signature cannot say: addresses, what a fallback needs, sections without a meaning.

Sits beside `core.spec_rules`; standard library only, nothing is looked up or connected to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lode.core.check import Finding, shown
from lode.core.types import Component, Key

UNUSED = ("data", "inputs", "outputs", "train", "tune", "evaluate", "value")
"""Sections about data and training: this model was trained by somebody else."""

_NEEDED = ("address", "model", "prices")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def check_upstream(model: Component, tree: Mapping[str, Any], findings: list[Finding]) -> None:
    """Append a Finding for every rule that the `model:` section breaks."""
    for word in UNUSED:
        if tree.get(word) is not None:
            text = "found a section about data and training, allowed: none here, the model is somebody else's. Remove it."
            findings.append(Finding((word,), text))
    findings += provider_findings(("model",), model.options)
    fallback = model.options.get("fallback")
    for index, entry in enumerate(fallback if isinstance(fallback, list) else ()):
        if isinstance(entry, Mapping):
            key: Key = ("model", "fallback", index)
            missing = [word for word in _NEEDED if entry.get(word) is None]
            findings += [Finding((*key, word), f'found nothing, allowed: text. Add "{word}: ...".') for word in missing]
            findings += provider_findings(key, entry)
            own, first = entry.get("protocol", "openai"), model.options.get("protocol", "openai")
            if own != first:
                text = f"found {shown(own)}, allowed: {first}, that of the first provider, because clients speak one protocol."
                findings.append(Finding((*key, "protocol"), text))


def provider_findings(key: Key, entry: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with the words of one provider, whether the first or a fallback."""
    found: list[Finding] = []
    protocol = entry.get("protocol", "openai")
    if protocol not in ("openai", "open_inference"):
        found.append(Finding((*key, "protocol"), f"found {shown(protocol)}, allowed: openai, open_inference."))
    for word in ("model", "prices"):
        value = entry.get(word)
        if value is not None and (not isinstance(value, str) or not value or len(value) > 500):
            found.append(Finding((*key, word), f"found {shown(value)}, allowed: text."))
    secret = entry.get("key")
    if secret is not None and not (isinstance(secret, Mapping) and isinstance(secret.get("file"), str) and secret["file"]):
        text = "found no file, allowed: the key's file, never the key itself. Write {file: secrets/provider.key}."
        found.append(Finding((*key, "key"), text))
    address = entry.get("address")
    problem = None if address is None else address_problem(address)
    return [*found, Finding((*key, "address"), problem)] if problem else found


def address_problem(address: Any) -> str | None:
    """Why an address cannot be called, None where it can. https, or http on this machine; no user, query or fragment in it."""
    example = "https://api.example.com/v1"
    if not isinstance(address, str) or any(character.isspace() or not character.isprintable() for character in address):
        return f"found {shown(address)}, allowed: an address such as {example}."
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"found {shown(address)}, allowed: an address such as {example}."
    if parts.scheme not in ("https", "http") or not host:
        return f"found {shown(address)}, allowed: an address such as {example}."
    if parts.username is not None or parts.password is not None:
        # The address itself is not repeated: it may hold a secret.
        return "found a user or a password in it, allowed: an address alone. Write them as `key: {file: ...}`."
    if parts.query or parts.fragment:
        return f"found {shown(address)}, allowed: an address without ? and #. Remove them."
    if parts.scheme == "http" and host not in _LOCAL:
        return f"found {shown(address)}, allowed: https, because the key goes with every request; http only on this machine."
    return None
