"""As tests/api/test_schemathesis.py, for long: `make test-fuzz`, which nothing else runs. With a
worker, so that what is started goes on, and with each boundary of each schema."""

import asyncio
from pathlib import Path

import pytest

from dev import process, services
from dev.stack import Stack
from domain.roles import Role
from runtime.settings import Settings
from tests.support.fuzzing import fuzzed

pytestmark = pytest.mark.timeout(4 * 3600)

MANY = ("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", 100)


@pytest.mark.parametrize("role", Role)
async def test_every_call_of_this_role_is_answered_as_the_document_says(
    stack: Stack, settings: Settings, tmp_path: Path, role: Role
) -> None:
    async with fuzzed(stack, settings, tmp_path) as api:
        worker = services.start_worker(stack, f"fuzzed-{role}", api.told)
        try:
            await asyncio.to_thread(process.wait_until_ready, [worker])
            said = await api.complaints(role, *MANY)
        finally:
            await asyncio.to_thread(process.stop, [worker])

    assert not said, said
