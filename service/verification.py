"""Whether all that we know tells one story: every invariant, looked at in the running system."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from domain.access import SYSTEM
from domain.errors import Rejected
from domain.identifier import UUID, has_form
from domain.invoice import InvoiceLine
from domain.pricing_snapshot import PricingSnapshot, price_invoice
from domain.verification import (
    SHOWN,
    Booked,
    Finding,
    Invariant,
    Moves,
    Open,
    Report,
    Violation,
    disagreements,
)
from domain.workflow_id import (
    invoice_workflow_id,
    payment_workflow_id,
    refund_workflow_id,
    settlement_workflow_id,
)
from gateway.book import GatewayBook, NoBook
from service import audit
from service.recomputation import of_lines
from store import clock, invoice, verification
from store.database import Database, Transaction

PAGE = 500
"""Invoices whose price lists are read at a time: computing them takes well below a second."""
SEALED_WITHIN = timedelta(minutes=1)
SEALS = 50
LOOK_SECONDS = 1.0
LAST_SECONDS = 2.0
TEMPORAL_TIMEOUT = timedelta(seconds=10)

OWNERS = "WorkflowType IN ('PaymentSaga', 'RefundSaga', 'InvoiceRetry', 'MonthlySettlement')"
"""The workflows that own something of the database."""


class CouldNotLook(Exception):
    """Somebody who must be asked does not answer; the text is a sentence."""


@dataclass(frozen=True)
class Sources:
    """Who is asked. `patience`: what is open that long has an owner, because the sweeper has come
    by; one that was lost just now has another one so soon."""

    database: Database
    temporal: Client
    books: Sequence[GatewayBook]
    patience: timedelta


Tell = Callable[[Finding], None]


def quietly(finding: Finding) -> None:
    """For whoever only wants the report."""


async def verify(sources: Sources, tell: Tell = quietly) -> Report:
    """Look at every invariant; each finding is told when it is there. Raises `CouldNotLook`.

    What one database says is read in one snapshot. Temporal and the PGs are read at other moments,
    so what differs there is looked at again before it is believed.
    """
    findings: list[Finding] = []

    def add(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    async with sources.database.read(SYSTEM) as tx:
        at = await clock.now(tx)
        for invariant in verification.INVARIANTS:
            add(await verification.look(tx, invariant))
        add(await prices(tx))
        add(await _entries_sealed(tx, at))
        add(await _seals_hold(tx))
    add(await _owners(sources))
    add(await _gateways(sources))
    return Report(at, tuple(findings))


async def last(client: Client) -> Report | None:
    """What the last hourly verification came to; None when Temporal remembers none, or does not
    answer at once."""
    query = "WorkflowType = 'Verification' AND ExecutionStatus = 'Completed'"
    with suppress(RPCError, RuntimeError, TimeoutError):
        async with asyncio.timeout(LAST_SECONDS):
            async for each in client.list_workflows(query, limit=1):
                handle = client.get_workflow_handle(each.id, run_id=each.run_id, result_type=Report)
                report: Report = await handle.result()
                return report
    return None


async def prices(tx: Transaction, customers: Sequence[str] | None = None) -> Finding:
    """Compute each invoice again from the price list that is frozen into it."""
    looked_at, wrong, after = 0, dict[str, str](), None
    while page := await verification.priced(tx, customers, after, PAGE):
        lines: defaultdict[str, list[InvoiceLine]] = defaultdict(list)
        for line in await invoice.lines(tx, *(row.id for row in page)):
            lines[line.invoice_id].append(line)
        for row in page:
            if sentence := _wrongly_priced(lines[row.id], row.snapshot):
                wrong[row.id] = sentence
        looked_at, after = looked_at + len(page), page[-1].id
    return _finding(Invariant.INVOICE_PRICES, looked_at, wrong)


async def _entries_sealed(tx: Transaction, at: datetime) -> Finding:
    """A transaction that is open for long holds the sealer up; otherwise nothing should."""
    waiting = await audit.waiting(tx)
    too_long = {
        str(each.id): f"It was added at {each.at.isoformat()} and is not sealed."
        for each in waiting
        if at - each.at > SEALED_WITHIN
    }
    return _finding(Invariant.AUDIT_SEALED, len(waiting), too_long)


async def _seals_hold(tx: Transaction) -> Finding:
    """The last ones only: `billing audit verify` looks at all of them."""
    last = await audit.head(tx)
    after = max(0, last.n - SEALS)
    broken = {f"seal {each.n}": each.wrong async for each in audit.verify(tx, after=after)}
    return _finding(Invariant.AUDIT_CHAIN, last.n - after, broken)


def _wrongly_priced(lines: Sequence[InvoiceLine], snapshot: dict[str, Any]) -> str | None:
    try:
        priced = price_invoice(PricingSnapshot.from_json(snapshot))
    except (Rejected, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"Its price list cannot be read: {error!r}."
    return " ".join(of_lines(lines, priced)) or None


async def _owners(sources: Sources) -> Finding:
    """Whatever is open has a workflow that runs, or gets one while we wait for the sweeper."""
    clock_ = asyncio.get_running_loop().time
    until = clock_() + sources.patience.total_seconds()
    open_ = await _open(sources)
    ownerless = await _ownerless(sources.temporal, open_)
    while ownerless and clock_() < until:
        await asyncio.sleep(LOOK_SECONDS)
        still = await _ownerless(sources.temporal, await _open(sources))
        ownerless = {id_: sentence for id_, sentence in ownerless.items() if id_ in still}
    return _finding(Invariant.OWNERS, len(open_), ownerless)


async def _open(sources: Sources) -> dict[str, str]:
    """By workflow id what is open for so long that it must have an owner."""
    async with sources.database.read(SYSTEM) as tx:
        before = await clock.now(tx) - sources.patience
        return {
            _workflow_id(each): each.noun for each in await verification.open_before(tx, before)
        }


def _workflow_id(open_: Open) -> str:
    match open_.noun:
        case "payment":
            return payment_workflow_id(open_.id)
        case "refund":
            return refund_workflow_id(open_.id)
        case "invoice":
            return invoice_workflow_id(open_.id)
    return settlement_workflow_id(open_.customer_id, open_.period)


async def _ownerless(client: Client, open_: Mapping[str, str]) -> dict[str, str]:
    if not open_:
        return {}
    try:
        listed = client.list_workflows(
            f"{OWNERS} AND ExecutionStatus = 'Running'", rpc_timeout=TEMPORAL_TIMEOUT
        )
        running = {each.id async for each in listed}
    except (RPCError, RuntimeError) as error:
        raise CouldNotLook(f"Temporal does not say what runs: {error}.") from error
    return {
        id_: f"The {noun} is open, but its workflow does not run."
        for id_, noun in open_.items()
        if id_ not in running
    }


async def _gateways(sources: Sources) -> Finding:
    """Each PG's own book against our ledger, payment by payment."""
    looked_at, wrong = 0, dict[str, str]()
    for book in sources.books:
        theirs = await _shown(book)
        ours = await _booked(sources.database, book)
        looked_at += len({*ours, *theirs})
        if suspects := disagreements(ours, theirs).keys():
            wrong |= await _confirmed(sources.database, book, ours, suspects)
    return _finding(Invariant.GATEWAY, looked_at, wrong)


async def _confirmed(
    database: Database, book: GatewayBook, before: Mapping[str, Booked], suspects: Collection[str]
) -> dict[str, str]:
    """Those that differ from the PG's book at a moment at which nothing of ours changed: the ledger
    says the same before and after the book is read."""
    theirs = await _shown(book)
    after = await _booked(database, book, [id_ for id_ in suspects if has_form(id_, UUID)])
    unchanged = {id_: after[id_] for id_ in after if before.get(id_) == after[id_]}
    unknown = {id_: moves for id_, moves in theirs.items() if id_ in suspects}
    found = disagreements(unchanged, unknown)
    return {
        id_: sentence for id_, sentence in found.items() if id_ in unchanged or id_ not in after
    }


async def _shown(book: GatewayBook) -> dict[str, Moves]:
    try:
        return await book.moves()
    except NoBook as error:
        raise CouldNotLook(str(error)) from error


async def _booked(
    database: Database, book: GatewayBook, payment_ids: Sequence[str] | None = None
) -> dict[str, Booked]:
    async with database.read(SYSTEM) as tx:
        return await verification.at_gateways(tx, book.gateways, payment_ids)


def _finding(invariant: Invariant, looked_at: int, wrong: Mapping[str, str]) -> Finding:
    first = tuple(Violation(*each) for each in sorted(wrong.items())[:SHOWN])
    return Finding(invariant, looked_at, len(wrong), first)


def patience(sweep_every: timedelta) -> timedelta:
    """Two sweeps, and one for a machine that is busy."""
    return 3 * sweep_every
