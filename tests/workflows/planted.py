"""Changes of a workflow that would break those that run: a replay must notice each of them."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.payment import PaymentActivities
    from domain.payment import Marking, PaymentOutcome, PaymentRequest, PaymentStatus

from workflows import policies
from workflows.payment_saga import PaymentSaga


@workflow.defn(name="PaymentSaga")
class OneMoreTimer(PaymentSaga):
    """Somebody lets each payment wait a moment."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        super().__init__(payment)

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        await asyncio.sleep(1)
        return await super().run(payment)


@workflow.defn(name="PaymentSaga")
class OneMoreStep(PaymentSaga):
    """Somebody adds a step at the end."""

    @workflow.init
    def __init__(self, payment: PaymentRequest) -> None:
        super().__init__(payment)

    @workflow.run
    async def run(self, payment: PaymentRequest) -> PaymentOutcome:
        outcome = await super().run(payment)
        await workflow.execute_local_activity_method(
            PaymentActivities.mark,
            Marking(payment, PaymentStatus.UNKNOWN, "one more step", step="gateway.charge"),
            **policies.step("one more step"),
        )
        return outcome
