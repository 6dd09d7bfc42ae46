"""A workflow is started in one way, whoever starts it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.invoice import InvoiceRequest
from domain.refund import late_capture_refund_id
from domain.run import RunRequest
from domain.terms import Terms
from domain.workflow_id import (
    invoice_workflow_id,
    payment_workflow_id,
    refund_workflow_id,
    settlement_workflow_id,
)
from runtime import sweeper
from service.starts import start_settlement_run
from tests.support.billing import Billing
from tests.support.cashier import WAITS, Cashier
from tests.support.conditions import eventually
from tests.support.dunning import Dunning
from tests.support.faults import Fault
from tests.support.months import MAY, Months
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import BRISK
from workflows import policies

PRODUCT = ("activities", "api", "cli", "dev", "load", "runtime", "service", "workflows")


@dataclass(frozen=True)
class Seen:
    """What an operator sees of how a workflow was started."""

    queue: str
    summary: str | None
    attributes: dict[str, object]
    turn_of: str
    place: int = 3
    task_timeout: timedelta = policies.TASK_TIMEOUT


async def seen(client: Client, workflow_id: str) -> Seen:
    """Wait until it was started; how it ended is another story."""

    async def described() -> Seen | None:
        try:
            found = await client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        config = found.raw_description.execution_config
        priority = found.raw_description.workflow_execution_info.priority
        return Seen(
            found.task_queue,
            await found.static_summary(),
            {
                pair.key.name: pair.value
                for pair in found.typed_search_attributes
                if pair.key.name not in ("Outcome", "BuildIds")
            },
            priority.fairness_key,
            priority.priority_key,
            config.default_workflow_task_timeout.ToTimedelta(),
        )

    shown = await eventually(described)
    assert shown is not None
    return shown


async def sweep(billing: Billing, client: Client) -> None:
    made_before = datetime.now(UTC) + timedelta(seconds=1)
    await sweeper.sweep(client, billing.database, Terms(WAITS), made_before)


def of_payment(owed: InvoiceRequest) -> Seen:
    attributes: dict[str, object] = {
        "CustomerId": owed.customer_id,
        "InvoiceId": owed.invoice_id,
        "Period": owed.period,
    }
    return Seen(
        "payments",
        f"5,000 KRW from {owed.customer_id} for INVOICE",
        attributes,
        owed.customer_id,
    )


def of_late_capture(customer_id: str) -> Seen:
    summary = "give 2,000 KRW back, captured late"
    return Seen("payments", summary, {"CustomerId": customer_id}, customer_id)


def of_invoice(customer_id: str, invoice_id: str) -> Seen:
    attributes: dict[str, object] = {
        "CustomerId": customer_id,
        "InvoiceId": invoice_id,
        "Period": MAY,
    }
    return Seen("settlement", "collect 5,000 KRW", attributes, customer_id)


def of_settlement(customer_id: str, place: int) -> Seen:
    attributes: dict[str, object] = {"CustomerId": customer_id, "Period": MAY}
    return Seen("settlement", f"settle {MAY} of {customer_id}", attributes, customer_id, place)


async def test_an_invoice_s_payment_by_the_invoice_s_owner(dunning: Dunning) -> None:
    owed = await dunning.issue()
    await (await dunning.start(owed)).result()
    [paid] = await dunning.payments(owed)

    assert await seen(dunning.client, payment_workflow_id(paid.id)) == of_payment(owed)


async def test_an_invoice_of_nothing_does_not_say_that_it_collects(dunning: Dunning) -> None:
    owner = await dunning.start(await dunning.issue(0))
    await owner.result()

    assert (await seen(dunning.client, owner.id)).summary == "nothing to collect"


async def test_an_invoice_s_payment_by_the_sweeper(dunning: Dunning) -> None:
    owed = await dunning.issue()
    made = dunning.plan(owed, "invoice.open", Fault.PARK_AFTER)
    owner = await dunning.start(owed)
    await made.reached.wait()
    await owner.terminate("before it starts the payment")
    made.release.set()

    await sweep(dunning.billing, dunning.client)

    [paid] = await dunning.payments(owed)
    assert await seen(dunning.client, payment_workflow_id(paid.id)) == of_payment(owed)


@pytest.mark.parametrize("starter", ["saga", "sweeper"])
async def test_the_refund_of_a_late_capture(
    cashier: Cashier, connections: Connections, starter: str
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)
    refund = refund_workflow_id(late_capture_refund_id(request.payment_id))
    recorded = cashier.plan(request, "payment.record_late_capture", Fault.PARK_AFTER)
    await cashier.start(request)

    async def failed() -> bool:
        return await cashier.status(request) == "FAILED"

    await eventually(failed)
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    await recorded.reached.wait()
    if starter == "sweeper":
        await sweep(cashier.billing, cashier.client)
        await seen(cashier.client, refund)
    recorded.release.set()

    assert await seen(cashier.client, refund) == of_late_capture(request.customer_id)
    await cashier.client.get_workflow_handle(refund).result()


@pytest.mark.parametrize("starter", ["settlement", "client"])
async def test_the_owner_of_an_invoice(months: Months, dunning: Dunning, starter: str) -> None:
    if starter == "settlement":
        await months.price()
        await months.use(5000)
        invoice_id = (await months.settle()).invoice_id or ""
    else:
        owed = await dunning.issue()
        await dunning.start(owed)
        invoice_id = owed.invoice_id

    owner = invoice_workflow_id(invoice_id)
    [made] = await months.invoices()
    assert await seen(months.client, owner) == of_invoice(made.customer_id, invoice_id)
    await months.paid(invoice_id)


@pytest.mark.parametrize(("starter", "place"), [("run", 3), ("client", 1)])
async def test_the_settlement_of_a_month(months: Months, starter: str, place: int) -> None:
    """What somebody wants now goes before what a run does."""
    if starter == "run":
        wanted = RunRequest(MAY, (months.customer_id,), waits=WAITS)
        await (await start_settlement_run(months.client, wanted)).result()
    else:
        await months.settle()

    settlement = settlement_workflow_id(months.customer_id, MAY)
    assert await seen(months.client, settlement) == of_settlement(months.customer_id, place)


def starting_calls() -> Iterator[tuple[Path, ast.Call]]:
    """Every place of the product that starts a workflow; those of a benchmark that do nothing are
    none of the product's."""
    for package in PRODUCT:
        for path in (Path(__file__).parents[2] / package).rglob("*.py"):
            if path.name == "nothing.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                    ("start_workflow", "start_child_workflow", "ScheduleActionStartWorkflow")
                ):
                    yield path, node


def test_nobody_sets_an_option_of_a_start_by_hand() -> None:
    calls = list(starting_calls())
    assert len(calls) >= 12
    for path, call in calls:
        [options] = call.keywords
        assert options.arg is None, f"{path.name}:{call.lineno} sets {options.arg}"
        assert ast.unparse(options.value).startswith("starts.of_")
