"""Too much at a time: reads and work do not take what the other needs, and nobody waits long to
hear that it is too much. Everything is held up by real locks of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.app import create_app
from domain.access import SYSTEM
from runtime.settings import Settings
from service.overload import Overloaded, Turn, Work
from store.database import Database
from tests.api.documents import refused
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import may_idle

READS, WAITING, WORK, BEGINNING = 2, 3, 6, 2
RANKING = "/api/v1/rankings"


@asynccontextmanager
async def small(billing: Billing, settings: Settings) -> AsyncIterator[Billing]:
    """An API of its own that takes little at a time, and begins little."""
    bounds = {
        "api_reads_at_once": READS,
        "api_reads_waiting": WAITING,
        "api_work_at_once": WORK,
        "database_pool_size": 2 * BEGINNING,
    }
    async with served(create_app(settings.model_copy(update=bounds))) as http:
        yield replace(billing, api=http)


@asynccontextmanager
async def locked(database: Database, statement: str) -> AsyncIterator[None]:
    """Whoever needs what this statement locks waits to the end of the block."""
    async with database.begin(SYSTEM) as tx:
        await may_idle(tx)
        await tx.execute(text(statement))
        yield


async def waiting_for_locks(database: Database, statement: str) -> int:
    """How many sessions wait for a lock in a statement like this one."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE :like"
    )
    async with database.statements(SYSTEM) as tx:
        return int(await tx.scalar(query, {"like": f"%{statement}%"}) or 0)


async def refusals(api: httpx2.AsyncClient) -> dict[str, float]:
    metrics = (await api.get("/metrics")).text
    [found] = [
        each
        for each in text_string_to_metric_families(metrics)
        if each.name == "billing_overload_refusals"
    ]
    return {
        each.labels["kind"]: each.value for each in found.samples if each.name.endswith("_total")
    }


async def test_while_reads_wait_a_payment_goes_through_and_more_reads_are_refused(
    billing: Billing, settings: Settings, owner: Database
) -> None:
    """Every read that is let in waits for a lock; what they hold is not what a payment needs."""
    async with small(billing, settings) as ours, AsyncExitStack() as stack:
        order = await ours.order(1000)
        before = await refusals(ours.api)
        await stack.enter_async_context(locked(owner, "LOCK TABLE sku_rankings"))
        lists = [asyncio.create_task(ours.api.get(RANKING)) for _ in range(READS + WAITING)]

        async def full() -> bool:
            return await waiting_for_locks(billing.database, "sku_rankings") >= READS

        await eventually(full)
        too_many = await ours.api.get(RANKING)
        paid = await ours.post(
            "/api/v1/payments", {"orderId": order, "method": "CARD"}, uuid4().hex
        )
        ready = await ours.api.get("/health/ready")
        waited = await asyncio.gather(*lists[READS:])
        await stack.aclose()
        first = await asyncio.gather(*lists[:READS])
        after = await refusals(ours.api)

    refused(too_many, 503, "overloaded")
    assert too_many.headers["Retry-After"] == "1"
    assert (paid.status_code, paid.json()["status"]) == (201, "COMPLETED")
    for each in waited:
        refused(each, 503, "overloaded")
    assert ready.status_code == 200
    assert [each.status_code for each in first] == [200] * READS
    assert after["read"] - before["read"] == 1 + WAITING


async def test_while_work_is_stuck_more_is_refused_repeats_are_answered_and_reads_go_on(
    billing: Billing, settings: Settings, owner: Database
) -> None:
    async with small(billing, settings) as ours, AsyncExitStack() as stack:
        done = {"orderId": await ours.order(1000), "method": "CARD"}
        key = uuid4().hex
        paid = await ours.post("/api/v1/payments", done, key)
        assert paid.status_code == 201
        orders = [await ours.order(1000) for _ in range(WORK)]
        before = await refusals(ours.api)
        await stack.enter_async_context(locked(owner, "LOCK TABLE idempotency_keys"))
        bodies = [{"orderId": order, "method": "CARD"} for order in orders]
        keys = [uuid4().hex for _ in orders]
        work = [
            asyncio.create_task(ours.post("/api/v1/payments", *each))
            for each in zip(bodies, keys, strict=True)
        ]

        async def stuck() -> bool:
            return await waiting_for_locks(billing.database, "idempotency_keys") >= BEGINNING

        await eventually(stuck)
        too_much = await ours.post("/api/v1/payments", bodies[0], uuid4().hex)
        again = await ours.post("/api/v1/payments", done, key)
        read = await ours.api.get(f"/api/v1/orders/{orders[0]}")

        async def refused_by_time() -> bool:
            return sum(each.done() for each in work) == WORK - BEGINNING

        await eventually(refused_by_time)
        await stack.aclose()
        answers = await asyncio.gather(*work)
        repeated = [
            await ours.post("/api/v1/payments", *each) for each in zip(bodies, keys, strict=True)
        ]
        after = await refusals(ours.api)

    refused(too_much, 503, "overloaded")
    assert too_much.headers["Retry-After"] == "1"
    assert (again.status_code, again.content) == (201, paid.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert read.status_code == 200
    # Those that had begun were done when they could; the others soon heard that they could not, and
    # their keys were free.
    assert [each.status_code for each in answers].count(201) == BEGINNING
    for each in answers:
        if each.status_code != 201:
            refused(each, 503, "overloaded")
    assert [each.json()["status"] for each in repeated] == ["COMPLETED"] * WORK
    assert after["work"] - before["work"] == 1 + WORK - BEGINNING


async def test_work_gives_its_place_back_however_it_ends(
    billing: Billing, settings: Settings
) -> None:
    async with small(billing, settings) as ours:
        for _ in range(WORK + 1):
            missing = {"orderId": str(uuid4()), "method": "CARD"}
            refused(await ours.post("/api/v1/payments", missing, uuid4().hex), 404, "not-found")
        for _ in range(READS + 1):
            refused(await ours.api.get(f"/api/v1/orders/{uuid4()}"), 404, "not-found")

        assert (await ours.api.get("/api/v1/invoices")).status_code == 200
        await ours.order(1000)


async def test_whoever_was_let_in_is_not_refused_later() -> None:
    """Not even while somebody else begins, whom nobody can join."""
    work = Work(at_once=3, beginning=1)
    first, second, third, fourth = (Turn(work) for _ in range(4))
    async with first.taken():
        with pytest.raises(Overloaded):
            await second.taken().__aenter__()

    async with third.taken(), first.taken():
        with pytest.raises(Overloaded):
            await fourth.taken().__aenter__()
    first.end()
    async with fourth.taken():
        pass
