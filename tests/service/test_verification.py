"""What the database alone cannot tell: who owns what is open, and what the PG's own book says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import pytest
from sqlalchemy import event, text
from temporalio.client import Client

from domain.access import SYSTEM
from domain.gateway import Operation
from domain.payment import (
    Capture,
    FailedPayment,
    Method,
    PaymentRequest,
    PaymentStatus,
    Watch,
    capture_transactions,
)
from domain.refund import RefundRequest
from domain.settlement import EndedSettlement, SettlementRequest, SettlementStatus
from domain.verification import Finding, Invariant, Moved, Moves
from domain.waits import Waits
from domain.workflow_id import payment_workflow_id
from gateway.book import HttpBook
from runtime import temporal
from runtime.settings import Settings
from service.verification import CouldNotLook, Sources, verify
from store import invoice, ledger, payment, refund, settlement, watch
from store.database import Transaction
from tests.support.conditions import PATIENCE_SECONDS, eventually, meanwhile
from tests.support.databases import connected, settings_of_its_own
from tests.support.samples import a_payment, new_customer, new_id
from workflows.payment_saga import PaymentSaga

AT_ONCE = timedelta(0)
"""Whatever is there is old enough, and nobody waits for a sweeper."""
PAID = {"KRW": Moved(1000)}


@dataclass
class Shown:
    """A PG's book as a test says it; the last page is shown for ever."""

    pages: list[Mapping[str, Moves]] = field(default_factory=lambda: [{}])
    gateways: tuple[str, ...] = ("simulator",)
    _open: Iterator[Mapping[str, Moves]] | None = None

    async def moves(self) -> dict[str, Moves]:
        self._open = self._open or chain(self.pages, repeat(self.pages[-1]))
        return dict(next(self._open))


@pytest.fixture(scope="module")
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    async with settings_of_its_own(settings) as own:
        yield own


@pytest.fixture
async def sources(alone: Settings, temporal_client: Client) -> AsyncIterator[Sources]:
    async with connected(alone.database_url, pool_size=2) as pool:
        yield Sources(pool, temporal_client, (), AT_ONCE)


async def found(sources: Sources, invariant: Invariant) -> Finding:
    """What a verification of everything says of one invariant."""
    report = await verify(sources)
    assert {finding.invariant for finding in report.findings} == set(Invariant)
    [finding] = [each for each in report.findings if each.invariant is invariant]
    return finding


async def reported(sources: Sources, invariant: Invariant) -> dict[str, str]:
    """The violations of one invariant, which are few."""
    finding = await found(sources, invariant)
    assert len(finding.first) == finding.violations
    return {each.id: each.wrong for each in finding.first}


async def a_payment_under_way(tx: Transaction) -> str:
    return payment_workflow_id((await made(tx)).payment_id)


async def a_watched_payment(tx: Transaction) -> str:
    request = await made(tx)
    await payment.fail(tx, FailedPayment(request, PaymentStatus.FAILED, "x", "x"))
    until = datetime.now(UTC) + timedelta(hours=1)
    await watch.begin(tx, request.payment_id, Watch(Operation.CHARGE, until))
    return payment_workflow_id(request.payment_id)


async def a_refund(tx: Transaction) -> str:
    return f"refund/{await refund_of(tx, await completed(tx))}"


async def an_issued_invoice(tx: Transaction) -> str:
    id_, _ = await a_draft(tx)
    await invoice.issue(tx, id_, timedelta(days=14), None)
    return f"invoice/{id_}"


async def a_draft_that_waits(tx: Transaction) -> str:
    _, customer_id = await a_draft(tx)
    return f"settlement/{customer_id}/2026-05"


async def a_month_that_is_not_over(tx: Transaction) -> str:
    month = SettlementRequest(new_customer(), "2099-01")
    await settlement.record(tx, EndedSettlement(month, SettlementStatus.NOT_OVER))
    return f"settlement/{month.customer_id}/2099-01"


async def made(tx: Transaction) -> PaymentRequest:
    request = a_payment(card_amount=1000)
    await payment.create(tx, request, Method.CARD)
    return request


async def completed(tx: Transaction) -> PaymentRequest:
    """Taken by the PG and booked."""
    request = await made(tx)
    await payment.complete(tx, request.payment_id, "pg_1", 0)
    await ledger.append(tx, *capture_transactions(Capture(request).payment))
    return request


async def refund_of(tx: Transaction, paid: PaymentRequest) -> str:
    request = RefundRequest(new_id(), paid.payment_id, paid.customer_id, "KRW", 500, 0)
    await refund.create(tx, request)
    return request.refund_id


async def a_draft(tx: Transaction) -> tuple[str, str]:
    id_, customer_id = new_id(), new_customer()
    await invoice.create_draft(tx, id_, customer_id, "2026-05", "KRW", "settlement/x", "")
    return id_, customer_id


@pytest.mark.parametrize(
    "open_",
    [
        a_payment_under_way,
        a_watched_payment,
        a_refund,
        an_issued_invoice,
        a_draft_that_waits,
        a_month_that_is_not_over,
    ],
)
async def test_what_is_open_and_whose_workflow_does_not_run_is_reported(
    sources: Sources, open_: Callable[[Transaction], Awaitable[str]]
) -> None:
    async with sources.database.begin(SYSTEM) as tx:
        workflow_id = await open_(tx)

    assert workflow_id in await reported(sources, Invariant.OWNERS)
    async with owner_of(sources.temporal, workflow_id):

        async def is_seen() -> bool:
            return workflow_id not in await reported(sources, Invariant.OWNERS)

        assert await eventually(is_seen)


@asynccontextmanager
async def owner_of(client: Client, workflow_id: str) -> AsyncIterator[None]:
    """Somebody owns it: a workflow that runs, though no worker has taken it yet."""
    owner = await client.start_workflow(
        PaymentSaga.run, a_payment(), id=workflow_id, task_queue="nobody-listens"
    )
    try:
        yield
    finally:
        await owner.terminate()


async def test_what_was_made_just_now_need_not_have_an_owner(sources: Sources) -> None:
    async with sources.database.begin(SYSTEM) as tx:
        await a_payment_under_way(tx)

    patient = replace(sources, patience=timedelta(days=365))

    assert (await found(patient, Invariant.OWNERS)).looked_at == 0


async def test_what_lost_its_owner_gets_time_for_another_one(
    sources: Sources, alone: Settings
) -> None:
    """The sweeper comes by while the verification waits."""
    patient = replace(sources, patience=timedelta(seconds=PATIENCE_SECONDS))
    async with sources.database.begin(SYSTEM) as tx:
        lost = await a_payment_under_way(tx)
    async with connected(alone.database_owner_url) as owner, owner.begin(SYSTEM) as tx:
        id_ = lost.partition("/")[2]
        older = text("UPDATE payments SET created_at = now() - interval '1 day' WHERE id = :id")
        await tx.execute(older, {"id": id_})

    looks: list[str] = []

    @event.listens_for(sources.database.engine.sync_engine, "before_cursor_execute")
    def note(_1: Any, _2: Any, statement: str, _3: Any, _4: Any, _5: Any) -> None:
        looks.extend(["look"] * ("'refund'" in statement))

    async def looked_twice() -> bool:
        return len(looks) >= 2

    async with meanwhile(verify(patient)) as verifying:
        # It has found nobody, or it would not look again; then somebody comes.
        await eventually(looked_twice)
        async with owner_of(sources.temporal, lost):
            report = await verifying

    [finding] = [each for each in report.findings if each.invariant is Invariant.OWNERS]
    assert (finding.looked_at, finding.violations) == (1, 0)


@pytest.fixture
async def paid(sources: Sources) -> str:
    """A payment of 1,000 KRW that is completed and booked."""
    async with sources.database.begin(SYSTEM) as tx:
        return (await completed(tx)).payment_id


async def said(sources: Sources, payment_id: str, *pages: Mapping[str, Moves]) -> str | None:
    """What is reported of a payment when the PG shows these pages of its book."""
    asked = replace(sources, books=(Shown(list(pages)),))
    return (await reported(asked, Invariant.GATEWAY)).get(payment_id)


async def test_a_book_that_says_what_the_ledger_says_is_right(sources: Sources, paid: str) -> None:
    assert await said(sources, paid, {paid: PAID}) is None


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"KRW": Moved(2000)},
        {"KRW": Moved(1000, 500)},
        {"USD": Moved(1000)},
        {"KRW": Moved(1000), "USD": Moved(1)},
    ],
    ids=["not taken", "taken twice", "given back", "another currency", "two currencies"],
)
async def test_a_book_that_says_another_thing_is_reported(
    sources: Sources, paid: str, theirs: Moves
) -> None:
    words = await said(sources, paid, {paid: theirs})

    assert words is not None
    assert "the ledger says" in words


async def test_money_that_the_pg_took_for_nothing_of_ours_is_reported(sources: Sources) -> None:
    for stranger in (new_id(), "not-even-an-id"):
        words = await said(sources, stranger, {stranger: PAID})

        assert words == "The PG has taken money for it, but we have no such payment"


async def test_a_refund_under_way_is_no_difference(sources: Sources, paid: str) -> None:
    async with sources.database.begin(SYSTEM) as tx:
        row = await payment.find(tx, paid)
        assert row is not None
        await refund_of(tx, payment.request(row, Waits()))

    assert await said(sources, paid, {paid: {"KRW": Moved(1000, 500)}}) is None


async def test_a_difference_that_is_gone_at_the_second_look_is_none(
    sources: Sources, paid: str
) -> None:
    """A book is read before or after our snapshot, never with it."""
    assert await said(sources, paid, {}, {paid: PAID}) is None


async def test_whoever_cannot_be_asked_makes_no_report(
    sources: Sources, settings: Settings
) -> None:
    async with sources.database.begin(SYSTEM) as tx:
        await a_payment_under_way(tx)
    nowhere = settings.model_copy(update={"temporal_address": "127.0.0.1:9"})
    without_temporal = replace(sources, temporal=await temporal.connect_later(nowhere))
    without_pg = replace(sources, books=(HttpBook("http://127.0.0.1:9", ("simulator",)),))

    with pytest.raises(CouldNotLook, match="Temporal does not say"):
        await verify(without_temporal)
    with pytest.raises(CouldNotLook, match="does not show its book"):
        await verify(without_pg)
