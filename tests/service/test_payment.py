"""What is told of an order is what holds once nobody else is at work on it."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio.client import Client

from domain.access import SYSTEM, at_the_machine
from domain.errors import OrderNotPayable
from domain.event import Origin
from domain.payment import Method
from service.call import Call
from service.payment import NewPayment, _create
from store import order
from store.database import Database
from store.idempotency import Claim
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.desks import desk

ME = at_the_machine("me")

_HELD_UP = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :by = ANY(pg_blocking_pids(pid)))"
)


async def test_who_comes_second_hears_that_the_order_is_being_paid(
    billing: Billing, database: Database, temporal_client: Client
) -> None:
    """And not how it stood when it was read first."""
    billing.leaves_residue()
    await billing.top_up(1000)
    order_id = await billing.order()
    wanted = NewPayment(order_id, Method.WALLET)
    key = uuid4().hex
    call = Call(ME, Claim(ME.caller, "a test", key, key.encode()), Origin())
    async with database.begin(SYSTEM) as first:
        me = await first.scalar(text("SELECT pg_backend_pid()"))
        assert await order.begin_paying(first, order_id)
        second = asyncio.create_task(_create(desk(database, temporal_client), call, wanted))

        async def held_up() -> bool:
            async with database.statements(SYSTEM) as tx:
                return bool(await tx.scalar(_HELD_UP, {"by": me}))

        await eventually(held_up)
    with pytest.raises(OrderNotPayable, match="The order is PAYING"):
        await second
