"""Processes of tests share servers, and nothing on them; what they have made goes with them."""

import asyncio

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dev.stack import Stack
from runtime import temporal
from runtime.settings import Settings
from tests.support.apart import WORKER, apart
from tests.support.conditions import eventually
from tests.support.databases import execute
from tests.support.threads import beside_the_loop


@beside_the_loop
def test_two_processes_on_the_same_servers_have_nothing_in_common(
    stack: Stack, settings: Settings
) -> None:
    given = stack.endpoints.environment()
    with (
        apart(stack, {**given, WORKER: "gw0"}) as one,
        apart(stack, {**given, WORKER: "gw1"}) as another,
    ):
        theirs = [one.endpoints, another.endpoints]
        for each in theirs:
            told = settings.model_copy(update={"temporal_namespace": each.temporal_namespace})
            asyncio.run(_used(told))
        for name in ("database_url", "auth_database_url", "temporal_namespace", "redis_url"):
            everywhere = {getattr(each, name) for each in (stack.endpoints, *theirs)}
            assert len(everywhere) == 3, name
        databases = {each.database_url.rpartition("/")[2] for each in theirs}
        assert databases <= set(asyncio.run(_databases(stack)))

    assert not databases & set(asyncio.run(_databases(stack)))
    for each in theirs:
        asyncio.run(_is_gone(each.temporal_address, each.temporal_namespace))


@beside_the_loop
def test_what_a_process_has_started_itself_is_its_own_anyhow(stack: Stack) -> None:
    with apart(stack, {}) as same:
        assert same == stack


async def _used(settings: Settings) -> None:
    await temporal.connect_when_ready(settings)


async def _databases(stack: Stack) -> list[str]:
    return await execute(stack.endpoints.database_owner_url, "SELECT datname FROM pg_database")


async def _is_gone(address: str, namespace: str) -> None:
    client = await Client.connect(address)

    async def unknown() -> bool:
        try:
            request = DescribeNamespaceRequest(namespace=namespace)
            await client.workflow_service.describe_namespace(request)
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await eventually(unknown)
