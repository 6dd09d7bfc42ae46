"""Changes of a workflow that would break those that run: a replay must notice each of them."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.payment import PaymentActivities
    from domain.gateway import Operation
    from domain.gateway_health import HurryRequest
    from domain.invoice import InvoiceOutcome, InvoiceRequest
    from domain.payment import Marking, PaymentOutcome, PaymentRequest, PaymentStatus
    from domain.refund import RefundOutcome, RefundRequest
    from domain.run import Progress, RunRequest
    from domain.settlement import SettlementOutcome, SettlementRequest

from workflows import policies
from workflows.gateway_hurry import GatewayHurry
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga
from workflows.settlement_run import SettlementRun


@workflow.defn(name="PaymentSaga")
class PayLater(PaymentSaga):
    """Somebody lets each payment wait a moment."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        super().__init__(payment)

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        await asyncio.sleep(1)
        return await super().run(payment)


@workflow.defn(name="PaymentSaga")
class MarkAfterwards(PaymentSaga):
    """Somebody adds a step at the end."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        super().__init__(payment)

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        outcome = await super().run(payment)
        await workflow.execute_local_activity_method(
            PaymentActivities.mark,
            Marking(
                payment,
                PaymentStatus.UNKNOWN,
                "one more step",
                step="gateway.charge",
                operation=Operation.CHARGE,
            ),
            **policies.step("one more step"),
        )
        return outcome


@workflow.defn(name="RefundSaga")
class RefundLater(RefundSaga):
    """Somebody lets each refund wait a moment."""

    @workflow.init
    def __init__(self, refund: RefundRequest) -> None:
        super().__init__(refund)

    @workflow.run
    async def run(self, refund: RefundRequest) -> RefundOutcome:
        await asyncio.sleep(1)
        return await super().run(refund)


@workflow.defn(name="MonthlySettlement")
class SettleLater(MonthlySettlement):
    """Somebody lets each month wait a moment."""

    @workflow.init
    def __init__(self, settlement: SettlementRequest) -> None:
        super().__init__(settlement)

    @workflow.run
    async def run(self, settlement: SettlementRequest) -> SettlementOutcome:
        await asyncio.sleep(1)
        return await super().run(settlement)


@workflow.defn(name="GatewayHurry")
class HurryLater(GatewayHurry):
    """Somebody lets those who wait do so for a moment more."""

    @workflow.init
    def __init__(self, hurry: HurryRequest) -> None:
        super().__init__(hurry)

    @workflow.run
    async def run(self, hurry: HurryRequest) -> None:
        await asyncio.sleep(1)
        await super().run(hurry)


@workflow.defn(name="InvoiceRetry")
class CollectLater(InvoiceRetry):
    """Somebody lets each invoice wait a moment."""

    @workflow.init
    def __init__(self, invoice: InvoiceRequest) -> None:
        super().__init__(invoice)

    @workflow.run
    async def run(self, invoice: InvoiceRequest) -> InvoiceOutcome:
        await asyncio.sleep(1)
        return await super().run(invoice)


@workflow.defn(name="SettlementRun")
class RunLater(SettlementRun):
    """Somebody lets each run wait a moment."""

    @workflow.init
    def __init__(self, run: RunRequest) -> None:
        super().__init__(run)

    @workflow.run
    async def run(self, run: RunRequest) -> Progress:
        await asyncio.sleep(1)
        return await super().run(run)
