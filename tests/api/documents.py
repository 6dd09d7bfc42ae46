"""What every test of the HTTP API asks: is this a problem document, and what is in the tables?"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from sqlalchemy import func, select

from api.errors import TYPES
from dev import process
from domain.errors import IllegalDlqOperation, SecondPersonNeeded
from store.database import Database
from store.tables import (
    idempotency_keys,
    invoices,
    orders,
    outbox,
    payments,
    refunds,
    top_ups,
    usage_events,
)


def problem_of(answer: httpx2.Response) -> str:
    """The slug of a problem document; fails where the answer is not a whole one."""
    where = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    assert answer.headers["Content-Type"] == "application/problem+json", where
    body = answer.json()
    more = {"proposal", "code"} & set(body)
    assert set(body) - more == {"type", "title", "status", "detail", "instance"}, where
    of_kinds = {"proposal": SecondPersonNeeded.slug, "code": IllegalDlqOperation.slug}
    assert all(body["type"].endswith(f"/{of_kinds[each]}") for each in more), where
    assert body["status"] == answer.status_code, where
    assert all(body[name] for name in ("title", "detail", "instance")), where
    prefix, _, slug = body["type"].rpartition("/")
    assert prefix == TYPES, where
    return str(slug)


def refused(answer: httpx2.Response, status: int, slug: str) -> None:
    """The answer is this problem and no other."""
    assert (answer.status_code, problem_of(answer)) == (status, slug), answer.text


async def rows_of(database: Database, customer_id: str) -> dict[str, int]:
    """How many rows there are of one customer in every table that a POST may write."""
    counted: dict[str, int] = {}
    async with database.engine.connect() as tx:
        for table in (orders, payments, refunds, top_ups, outbox, invoices, usage_events):
            query = select(func.count()).where(table.c.customer_id == customer_id)
            counted[table.name] = (await tx.execute(query)).scalar_one()
        of_caller = idempotency_keys.c.caller.endswith(customer_id, autoescape=True)
        query = select(func.count()).select_from(idempotency_keys).where(of_caller)
        counted["idempotency_keys"] = (await tx.execute(query)).scalar_one()
    return counted


def closed_port() -> int:
    """A port of this machine where every connection is refused."""
    return process.free_port()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where a connection is taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield listening.getsockname()[1]
