"""`model: {type: upstream}` in a file: closed, without data, and nothing called that should not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.core.errors import SpecError
from lode.core.spec import Spec, is_upstream, load
from lode.core.spec_upstream import address_problem

MODEL = {"type": "upstream", "address": "https://api.example.com/v1", "model": "small-4", "prices": "prices.toml"}
OTHER = {"address": "https://api.other.example/v1", "model": "x", "prices": "b.toml"}


def read(folder: Path, model: Any, **more: Any) -> Spec:
    path = folder / "lode.yaml"
    path.write_text(yaml.safe_dump({"name": "assistant", "model": model, **more}))
    return load(path)


def test_a_file_needs_no_data(tmp_path: Path) -> None:
    spec = read(tmp_path, {**MODEL, "key": {"file": "secrets/k", "name": "main"}, "fallback": [OTHER]}, serve={"port": 0})
    assert is_upstream(spec.model) and spec.outputs == () and spec.inputs is None
    resolved = spec.resolved()
    assert resolved["model"]["retries"] == 2 and resolved["serve"]["max_waiting"] == 1024


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"address": "http://api.example.com/v1"}, "address", "allowed: https"),
        ({"address": "https://user:pass@example.com"}, "address", "key: {file"),
        ({"address": "https://example.com/v1?key=1"}, "address", "without ?"),
        ({"address": "file:///etc/passwd"}, "address", "such as"),
        ({"address": "example.com"}, "address", "such as"),
        ({"key": "sk-123"}, "key", "mapping"),
        ({"key": {"fiel": "x"}}, "key.fiel", 'Did you mean "file"'),
        ({"key": {"name": "x"}}, "key", "never the key itself"),
        ({"protocol": "openia"}, "protocol", 'Did you mean "openai"'),
        ({"retries": -1}, "retries", "from 0 to 10"),
        ({"adress": "x"}, "adress", 'Did you mean "address"'),
        ({"fallback": [{"address": "https://x.example", "model": "x"}]}, "fallback[0].prices", "found nothing"),
        ({"fallback": [{**OTHER, "protocol": "open_inference"}]}, "fallback[0].protocol", "one protocol"),
        ({"fallback": [{**OTHER, "address": "http://10.0.0.7/v1"}]}, "fallback[0].address", "allowed: https"),
        ({"fallback": [{**OTHER, "timeout_s": 3}]}, "fallback[0].timeout_s", "allowed: address"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, {**MODEL, **change})
    line = next(line for line in str(caught.value).splitlines() if f":model.{key} " in line)
    assert words in line
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("section", ["data", "outputs", "inputs", "train", "tune", "evaluate", "value"])
def test_a_section_about_training_is_refused(tmp_path: Path, section: str) -> None:
    with pytest.raises(SpecError, match=f"{section}.*somebody else's"):
        read(tmp_path, MODEL, **{section: {"x": 1}})


@pytest.mark.parametrize(
    "address", ["https://a.example/v1", "https://a.example:8443", "http://127.0.0.1:9100/v1", "http://localhost:1/v1"]
)
def test_addresses_that_may_be_called(address: str) -> None:
    assert address_problem(address) is None


@pytest.mark.parametrize(
    "address", [None, 7, "", "https://", "https://a b", "https://a\n.example", "https://[::1", "https://a:99999999"]
)
def test_addresses_that_are_none(address: Any) -> None:
    assert address_problem(address)
