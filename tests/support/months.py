"""One customer's months: a price list, usage, and the settlement of a month."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from temporalio.client import Client, WorkflowHandle

from domain.access import SYSTEM
from domain.approval import ApprovalPolicy
from domain.invoice import Invoice, Wanted
from domain.settlement import SettlementOutcome, SettlementRequest, SettlementStatus
from domain.workflow_id import settlement_workflow_id
from service.starts import start_settlement
from store import invoice, settlement, usage
from store.tables import usage_events
from tests.support.billing import Billing
from tests.support.cashier import WAITS
from tests.support.conditions import eventually
from tests.support.faults import Fault, FaultInjector, Parked
from tests.support.persons import put
from tests.support.usage import event
from workflows.monthly_settlement import MonthlySettlement

MAY = "2026-05"
BIG = 2_000
ASKS = ApprovalPolicy(thresholds={"KRW": BIG})
"""Whatever is above ₩2,000 waits for a person."""

Settlement = WorkflowHandle[MonthlySettlement, SettlementOutcome]


@dataclass(frozen=True)
class Months:
    """Settles months of one customer, and looks at what became of them."""

    billing: Billing
    client: Client
    faults: FaultInjector

    @property
    def customer_id(self) -> str:
        return self.billing.customer_id

    async def price(
        self,
        unit_price: str = "1",
        code: str | None = None,
        plan_from: str = "2020-01-01T00:00:00Z",
        **more: Any,
    ) -> str:
        """A price list of the customer's own with one price per call, or its next version."""
        name = code or f"P-{uuid4().hex}"
        charge = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": unit_price}
        body = {
            "currency": "KRW",
            "effectiveFrom": "2020-01-01T00:00:00Z",
            "charges": [charge],
            **more,
        }
        answer = await put(self.billing.api, f"/api/v1/pricing-plans/{name}", body)
        assert answer.status_code == 201, answer.text
        terms = {"planCode": name, "planFrom": plan_from}
        answer = await put(self.billing.api, f"/api/v1/customers/{self.customer_id}", terms)
        assert answer.status_code == 200, answer.text
        return name

    async def use(self, quantity: int, month: int = 5, resource_type: str = "API_CALL") -> None:
        """Usage on the tenth of a month of 2026."""
        await self.use_at(datetime(2026, month, 10, tzinfo=UTC), quantity, resource_type)

    async def use_at(self, when: datetime, quantity: int, resource_type: str = "API_CALL") -> None:
        async with self.billing.database.begin(SYSTEM) as tx:
            used = event(self.customer_id, None, str(quantity), when, resource_type)
            await usage.ingest(tx, [used])

    def wanted(self, period: str = MAY, **more: Any) -> SettlementRequest:
        return replace(SettlementRequest(self.customer_id, period, waits=WAITS), **more)

    async def start(self, period: str = MAY, **more: Any) -> Settlement:
        return await start_settlement(self.client, self.wanted(period, **more))

    async def settle(self, period: str = MAY, **more: Any) -> SettlementOutcome:
        return await (await self.start(period, **more)).result()

    async def waiting(self, period: str = MAY) -> Invoice:
        """Wait until the draft waits for a person; returns it."""

        async def awaiting() -> Invoice | None:
            async with self.billing.database.engine.connect() as tx:
                standing = await settlement.find(tx, period, self.customer_id)
                draft = await invoice.of_month(tx, self.customer_id, period)
            waits = standing is not None and standing.status == SettlementStatus.AWAITING_APPROVAL
            return draft if waits else None

        found = await eventually(awaiting)
        assert found is not None
        return found

    def plan(self, step: str, fault: Fault, period: str = MAY) -> Parked:
        """The next execution of this step meets the fault."""
        return self.faults.plan(settlement_workflow_id(self.customer_id, period), step, fault)

    async def invoices(self) -> list[Invoice]:
        """Every invoice of the customer, oldest first."""
        async with self.billing.database.engine.connect() as tx:
            _, found, _ = await invoice.crawl(tx, Wanted(self.customer_id), None, None, 1_000)
            whole = [await invoice.find(tx, each.invoice.id) for each in found]
        return [each for each in whole if each is not None]

    async def paid(self, invoice_id: str) -> None:
        """Wait until the invoice's owner has ended."""
        await self.client.get_workflow_handle(f"invoice/{invoice_id}").result()

    async def claims(self) -> list[str | None]:
        """Which invoice has each event of the customer."""
        query = select(usage_events.c.invoice_id).where(
            usage_events.c.customer_id == self.customer_id
        )
        async with self.billing.database.engine.connect() as tx:
            return list((await tx.execute(query)).scalars())

    async def events(self) -> list[str]:
        """The id of each event of the customer."""
        query = select(usage_events.c.event_id).where(
            usage_events.c.customer_id == self.customer_id
        )
        async with self.billing.database.engine.connect() as tx:
            return list((await tx.execute(query)).scalars())
