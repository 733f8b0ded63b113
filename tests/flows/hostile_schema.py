"""Requests made from an OpenAPI description by schemathesis, right and wrong ones, and its checks of every answer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def described(
    url: str, path: str, key: str, *, examples: int, seed: int, known: Mapping[str, str], every: int = 1
) -> tuple[int, list[str]]:
    """Cases that were sent, and what was wrong. examples: of each operation, half of them against its schema.

    known: names that exist. every: only each so many-th operation.
    """
    schema = schemathesis.openapi.from_url(f"{url}{path}", headers={"authorization": f"Bearer {key}"})
    bad: list[str] = []
    sent = 0
    for found in list(schema.get_all_operations())[seed % every :: every]:
        operation = found.ok()
        names = {item.name for item in operation.path_parameters}
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for path_parameters in ({name: known[name] for name in names & set(known)}, None):
                if path_parameters == {} or (
                    mode is GenerationMode.NEGATIVE and not operation.body and not operation.query and path_parameters
                ):
                    continue
                sent += _sent(operation, mode, path_parameters, key, max(1, examples // 4), seed, bad)
    return sent, bad


def _sent(operation: Any, mode: GenerationMode, path: Any, key: str, examples: int, seed: int, bad: list[str]) -> int:
    count = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @hypothesis.given(case=operation.as_strategy(mode, path_parameters=path))
    def one(case: Any) -> None:
        nonlocal count
        count += 1
        try:
            case.call_and_validate(headers={"authorization": f"Bearer {key}"}, checks=CHECKS, timeout=15)
        except (FailureGroup, Failure) as error:
            bad.append(f"{operation.label}: {str(error)[:600]}")
        except OSError as error:
            bad.append(f"{operation.label}: {type(error).__name__} {str(error)[:300]}")

    with contextlib.suppress(hypothesis.errors.Unsatisfiable, hypothesis.errors.UnsatisfiedAssumption):
        one()  # unless there is nothing wrong that could be sent
    return count
