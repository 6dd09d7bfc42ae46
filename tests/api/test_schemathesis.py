"""Calls that nobody thought of, made out of the OpenAPI document, good ones and bad ones, the same
in each run. `make test-fuzz` makes many more."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from dev.stack import Stack
from domain.roles import Role
from runtime.settings import Settings
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.fuzzing import Fuzzed, fuzzed

A_FEW = 2
"""Of each operation and of each kind."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


def cases(url: str) -> Iterator[Case[Any]]:
    """What the document allows, and what it forbids, if there is any."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = list(schema.get_all_operations())
    assert len(found) > 70
    for each in found:
        assert isinstance(each, Ok), each
        operation = each.ok()
        allowed = made(operation, GenerationMode.POSITIVE)
        assert allowed, operation.label
        yield from allowed
        yield from made(operation, GenerationMode.NEGATIVE)


def made(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> list[Case[Any]]:
    found: list[Case[Any]] = []

    @examples(
        max_examples=A_FEW,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        # A busy machine is slow at whatever is asked of it.
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def make(case: Case[Any]) -> None:
        found.append(case)

    try:
        make()
    except Unsatisfiable:
        # Of a call without parameters nothing is forbidden.
        return []
    return found


def complaints(api: Fuzzed, of_everything: Iterable[Case[Any]]) -> Iterator[str]:
    with requests.Session() as session:
        for case in of_everything:
            for role in Role:
                try:
                    case.call_and_validate(
                        api.url,
                        session,
                        {"Authorization": f"Bearer {api.token(role)}"},
                        CHECKS,
                        timeout=PATIENCE_SECONDS,
                    )
                except (Failure, FailureGroup) as failure:
                    yield f"As {role}: {failure}"


async def test_every_call_with_a_token_of_each_role_is_answered_as_the_document_says(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    async with fuzzed(stack, settings, tmp_path) as api:
        said = await asyncio.to_thread(lambda: list(complaints(api, cases(api.url))))

    assert not said, "\n\n".join(said)
