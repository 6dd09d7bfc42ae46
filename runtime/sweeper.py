"""The sweeper: whatever is not final has a running owner, whatever happened to it.

An API that died between claim and start, a Temporal that was down, a workflow that somebody
terminated: every 10 s each open payment and refund is started again, each payment that is watched,
and each open invoice, draft and month that waits for its end, if its workflow does not run; and
whatever of dead letters is to be done once more is asked for again. A start
finds the running workflow if there is one, so sweeping is harmless at any time and from several
workers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from domain.access import SYSTEM
from domain.payment import Payment
from domain.terms import Terms
from domain.waits import Waits
from domain.workflow_id import invoice_workflow_id, settlement_workflow_id
from runtime import residue
from service.dead_letter import ask_again
from service.starts import (
    start_dead_letter_job,
    start_invoice,
    start_payment,
    start_refund,
    start_relay,
    start_settlement,
)
from store import (
    clock,
    dead_letter,
    dead_letter_job,
    idempotency,
    invoice,
    payment,
    refund,
    settlement,
)
from store.database import Database, Transaction

log = structlog.get_logger()

EVERY = timedelta(seconds=10)
PAGE = 200
BODIES_KEPT = timedelta(hours=24)


class Identified(Protocol):
    """Whatever is swept, in the order of its ids."""

    @property
    def id(self) -> str: ...


Open = TypeVar("Open", bound=Identified)
Page = Callable[[Transaction, datetime, str | None, int], Awaitable[Sequence[Open]]]


async def sweep_for_ever(
    client: Client, database: Database, terms: Terms, every: timedelta
) -> None:
    """Sweep at once and until cancelled; one that fails is logged, and the next one tries again."""
    while True:
        try:
            async with database.read(SYSTEM) as tx:
                now = await clock.now(tx)
            await sweep(client, database, terms, now - every)
        except Exception as error:
            # Whatever it was: without a sweeper nothing that lost its owner is ever found again.
            log.warning("the sweep failed and will be tried again", error=error)
        await asyncio.sleep(every.total_seconds())


async def sweep(client: Client, database: Database, terms: Terms, created_before: datetime) -> int:
    """Start the owner of everything open that is older than this, and mend what has ended and holds
    something; returns how many there were."""
    await start_relay(client)
    seen = 0
    async for row in _rows(database, payment.open_since, created_before):
        await _start(_payment(client, row, terms.waits), row.id)
        seen += 1
    async for row in _rows(database, payment.watched, created_before):
        await _start(start_payment(client, payment.request(row, terms.waits)), row.id)
        seen += 1
    async for given_back in _rows(database, refund.open_since, created_before):
        request = refund.request(given_back, terms.waits)
        await _start(start_refund(client, request), given_back.id)
        seen += 1
    seen += await _sweep_invoices(client, database, terms, created_before)
    seen += await _sweep_months(client, database, terms, created_before)
    seen += await _sweep_dead_letters(client, database, terms, created_before)
    async for row in _rows(database, payment.ended_holding, created_before):
        await residue.give_back(database, row, terms.waits)
        seen += 1
    async with database.begin(SYSTEM) as tx:
        await idempotency.purge_bodies(tx, await clock.now(tx) - BODIES_KEPT)
    return seen


async def _sweep_dead_letters(
    client: Client, database: Database, terms: Terms, created_before: datetime
) -> int:
    """What somebody wants done once more, whoever died before he could say so."""
    seen = 0
    async for job in _rows(database, dead_letter_job.running_since, created_before):
        await _start(start_dead_letter_job(client, terms.dead_letter_job(job.id)), job.id)
        seen += 1
    async for letter in _rows(database, dead_letter.replaying_since, created_before):
        await _start(ask_again(client, terms, letter), letter.id)
        seen += 1
    return seen


async def _sweep_invoices(
    client: Client, database: Database, terms: Terms, created_before: datetime
) -> int:
    running = await _running(client, "InvoiceRetry")
    seen = 0
    async for row in _rows(database, invoice.open_since, created_before):
        seen += 1
        if invoice_workflow_id(row.id) not in running:
            owed = invoice.request(row, terms.dunning, terms.waits)
            await _start(start_invoice(client, owed), row.id)
    return seen


async def _sweep_months(
    client: Client, database: Database, terms: Terms, created_before: datetime
) -> int:
    running = await _running(client, "MonthlySettlement")
    seen = 0
    for page in (invoice.drafts_since, settlement.not_over):
        async for row in _rows(database, page, created_before):
            seen += 1
            if settlement_workflow_id(row.customer_id, row.period) not in running:
                request = terms.settlement(row.customer_id, row.period)
                await _start(start_settlement(client, request), row.id)
    return seen


async def _running(client: Client, workflow_type: str) -> set[str]:
    """Ids of those that run. They stay open for days and are many: starting each of them again
    every time would be the most that Temporal does. The list is a little behind, which is harmless:
    a start finds what runs, and the next sweep sees what has ended."""
    query = f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Running'"
    return {each.id async for each in client.list_workflows(query)}


async def _payment(client: Client, row: Payment, waits: Waits) -> None:
    owner = await start_payment(client, payment.request(row, waits))
    if row.cancel_requested_at is not None:
        await owner.cancel()


async def _start(starting: Awaitable[object], id_: str) -> None:
    """One that cannot be started must not keep those behind it waiting."""
    try:
        await starting
    except (RPCError, RuntimeError, ValueError) as error:
        log.warning("a workflow could not be started", id=id_, error=error)


async def _rows(
    database: Database, page: Page[Open], created_before: datetime
) -> AsyncIterator[Open]:
    after: str | None = None
    while True:
        async with database.read(SYSTEM) as tx:
            rows = await page(tx, created_before, after, PAGE)
        for row in rows:
            yield row
        if len(rows) < PAGE:
            return
        after = rows[-1].id
