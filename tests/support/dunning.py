"""Issued invoices of one customer, whose owner is started later."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import select
from temporalio.client import Client, WorkflowHandle

from domain.access import SYSTEM
from domain.dead_letter import DeadLetter
from domain.dunning import DunningPolicy
from domain.event import OutboxEvent
from domain.invoice import CloseRequest, Closing, Invoice, InvoiceOutcome, InvoiceRequest
from domain.payment import Payment
from domain.period import Period
from domain.pricing_snapshot import LineKind, PricedLine
from domain.waits import Waits
from domain.workflow_id import invoice_workflow_id
from service.starts import start_invoice
from store import customer, dead_letter, invoice, outbox, payment
from store.key_ring import NO_KEYS
from store.tables import dead_letters, ledger_transactions, postings
from tests.support.billing import GOOD_CARD, Billing
from tests.support.cashier import WAITS
from tests.support.conditions import eventually
from tests.support.faults import Fault, FaultInjector, Parked
from tests.support.samples import new_id
from workflows.invoice_retry import InvoiceRetry

MAY = Period.parse("2026-05")
SOFT_DECLINE = "4000000000000002"
HARD_DECLINE = "4000000000009987"

Owner = WorkflowHandle[InvoiceRetry, InvoiceOutcome]


@dataclass(frozen=True)
class Dunning:
    """Collects invoices of one customer, and looks at what became of them."""

    billing: Billing
    client: Client
    faults: FaultInjector

    async def issue(
        self,
        total: int = 5000,
        *,
        due_in: timedelta = timedelta(days=14),
        dunning: DunningPolicy | None = None,
        waits: Waits = WAITS,
    ) -> InvoiceRequest:
        """An issued invoice without an owner, of the month before the customer's last one, out of
        nothing: neither a price list nor an event tells of it."""
        self.billing.leaves_residue()
        id_, period = new_id(), MAY
        async with self.billing.database.begin(SYSTEM) as tx:
            owner = self.billing.customer_id
            for _ in await invoice.page(tx, owner, 0, 100):
                period = period.previous()
            fee = PricedLine(LineKind.FLAT_FEE, None, period, Decimal(1), total, ())
            await invoice.create_draft(tx, id_, owner, str(period), "KRW", "settlement/test", "")
            await invoice.fill_draft(tx, id_, "", "KRW", total, {}, [], [fee] if total else [])
            row, _ = await invoice.issue(tx, id_, due_in, None)
            return invoice.request(row, dunning or DunningPolicy(), waits)

    async def add_card(self, gateway: str, number: str = GOOD_CARD) -> str:
        """Make this card, at this gateway, the default one."""
        id_, owner = new_id(), self.billing.customer_id
        async with self.billing.database.begin(SYSTEM) as tx:
            await customer.add_payment_method(
                tx, id_, owner, gateway, f"bk_{number}", number[-4:], True, NO_KEYS
            )
        return id_

    async def start(self, owed: InvoiceRequest) -> Owner:
        return await start_invoice(self.client, owed)

    async def failed(self, owed: InvoiceRequest, step: int = 0) -> Invoice:
        """Wait until the ladder stands before this step, or has passed it; returns the invoice.
        A step that must not pass meanwhile is parked: see `failures`."""

        async def noted() -> Invoice | None:
            row = await self.row(owed)
            return row if row.next_attempt_at is not None and row.retries >= step else None

        found = await eventually(noted)
        assert found is not None
        return found

    async def given_up(self, owed: InvoiceRequest) -> Invoice:
        """Wait until the ladder has ended; returns the invoice."""

        async def uncollectible() -> Invoice | None:
            row = await self.row(owed)
            return row if row.status == "UNCOLLECTIBLE" else None

        found = await eventually(uncollectible)
        assert found is not None
        return found

    def plan(self, owed: InvoiceRequest, step: str, fault: Fault) -> Parked:
        """The next execution of this step of the owner meets the fault."""
        return self.faults.plan(invoice_workflow_id(owed.invoice_id), step, fault)

    def failures(self, owed: InvoiceRequest, number: int) -> list[Parked]:
        """The owner stops after each of its next failures, as noted in the row: what the test does
        then is done before the next step, however short the ladder is."""
        return [self.plan(owed, "invoice.note", Fault.PARK_AFTER) for _ in range(number)]

    def calls(self, owed: InvoiceRequest) -> list[str]:
        """The steps of the owner that ran."""
        return self.faults.calls[invoice_workflow_id(owed.invoice_id)]

    async def row(self, owed: InvoiceRequest) -> Invoice:
        async with self.billing.database.engine.connect() as tx:
            row = await invoice.find(tx, owed.invoice_id)
        assert row is not None
        return row

    async def payments(self, owed: InvoiceRequest) -> list[Payment]:
        """Every attempt, oldest first."""
        async with self.billing.database.engine.connect() as tx:
            return await payment.of_payable(tx, owed.invoice_id)

    async def captured(self, owed: InvoiceRequest) -> list[int]:
        """What the PG's own book says was taken for each attempt, less what it gave back."""
        books = [await self.billing.book(each.id) for each in await self.payments(owed)]
        totals = [book["totals"].get("KRW", {}) for book in books]
        return [each["captured"] - each["refunded"] for each in totals if each.get("captured")]

    async def told(self, owed: InvoiceRequest) -> list[str]:
        """Topics of the invoice's events, in order."""
        return [row.topic for row in await self.events(owed)]

    async def events(self, owed: InvoiceRequest) -> list[OutboxEvent]:
        """The invoice's events, in order."""
        async with self.billing.database.engine.connect() as tx:
            return await outbox.of_aggregates(tx, [owed.invoice_id])

    async def buried(self, owed: InvoiceRequest) -> DeadLetter | None:
        """Its last dead letter."""
        owner = invoice_workflow_id(owed.invoice_id)
        query = select(dead_letters.c.id).where(dead_letters.c.reference == owner)
        async with self.billing.database.engine.connect() as tx:
            ids = (await tx.execute(query.order_by(dead_letters.c.position))).scalars().all()
            return await dead_letter.find(tx, ids[-1]) if ids else None

    async def booked_outside(self, owed: InvoiceRequest) -> list[int]:
        """Postings of money that came another way."""
        key = f"invoice/{owed.invoice_id}/paid-outside"
        query = select(postings.c.amount).join_from(postings, ledger_transactions)
        async with self.billing.database.engine.connect() as tx:
            rows = await tx.execute(query.where(ledger_transactions.c.key == key))
            return sorted(rows.scalars())


def brisk(*seconds: float) -> DunningPolicy:
    """A ladder of so many seconds after the first failure."""
    return DunningPolicy(tuple(timedelta(seconds=each) for each in seconds))


def closes(how: Closing, reason: str = "by bank transfer") -> CloseRequest:
    return CloseRequest(how, reason, "operator-1")
