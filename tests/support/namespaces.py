"""Temporal's namespaces of tests: which ones they have made, and the end of them."""

import asyncio
from uuid import uuid4

from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

_MADE: set[str] = set()


def a_namespace(of_what: str) -> str:
    """The name of one that nobody else uses. On a server that outlives the tests it goes with
    them."""
    name = f"{of_what}-{uuid4().hex}"
    _MADE.add(name)
    return name


def made() -> set[str]:
    """The names of all of them so far. Some were never more than a name."""
    return set(_MADE)


def delete(address: str, names: set[str]) -> None:
    """With all that is in them."""
    asyncio.run(_deleted(address, names))
    _MADE.difference_update(names)


async def _deleted(address: str, names: set[str]) -> None:
    client = await Client.connect(address)
    for name in names:
        try:
            await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=name))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
