"""A process of tests on servers that others use as well: a database, a namespace of Temporal and a
database of Redis of its own.

What the process has started itself is its own anyhow.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from dev.stack import Endpoints, Stack
from tests.support import namespaces
from tests.support.databases import ROLES, dropped, made, named
from tests.support.namespaces import a_namespace

WORKER = "PYTEST_XDIST_WORKER"
"""What pytest-xdist calls a process: gw0, gw1, ..."""


@contextmanager
def apart(stack: Stack, environment: Mapping[str, str] = os.environ) -> Iterator[Stack]:
    """The same stack, and of each server that the environment names a part that nobody else has:
    but for Redis, which forgets by itself, it is removed at the end."""
    with ExitStack() as removed:
        endpoints = stack.endpoints
        if environment.get("DATABASE_URL"):
            endpoints = removed.enter_context(_database(endpoints))
        if environment.get("TEMPORAL_ADDRESS"):
            before = namespaces.made()
            endpoints = replace(endpoints, temporal_namespace=a_namespace("tests"))
            removed.callback(
                lambda: namespaces.delete(
                    stack.endpoints.temporal_address, namespaces.made() - before
                )
            )
        if environment.get("REDIS_URL"):
            number = 1 + int(environment.get(WORKER, "gw0").removeprefix("gw"))
            endpoints = replace(endpoints, redis_url=of_redis(endpoints.redis_url, number))
        yield replace(stack, endpoints=endpoints)


@contextmanager
def _database(endpoints: Endpoints) -> Iterator[Endpoints]:
    name = f"tests_{uuid4().hex}"
    asyncio.run(made(endpoints.database_owner_url, name))
    try:
        yield replace(
            endpoints,
            **{role: named(getattr(endpoints, role), name) for role in ROLES},
        )
    finally:
        asyncio.run(dropped(endpoints.database_owner_url, name))


def of_redis(url: str, number: int) -> str:
    """The address of another one of its databases; by default it has 16."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))
