"""`billing gateway`: how the gateways do, and asking them earlier."""

import json
from datetime import timedelta

from temporalio.client import Client

from cli.calling import Missing
from domain.access import SYSTEM
from domain.gateway_health import BreakerState, Health
from domain.waits import Waits
from gateway.reports import Reports
from runtime.settings import Settings
from service.starts import start_payment
from store import payment
from tests.cli.conftest import Command
from tests.support.audit import trail
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.unfinished import accepted

OPEN = Health(
    BreakerState.OPEN,
    unwell_for=70,
    retried_in=8,
    failing_for=75,
    under_way=3,
    calls={"CAPTURED": 12, "UNKNOWN": 20, "NOT_SENT": 5},
    p50=0.2,
    p95=5.25,
)


async def told(settings: Settings, worker: str, **gateways: Health) -> None:
    """A worker has said so just now."""
    reports = Reports(settings.redis_url)
    await reports.put(worker, gateways)
    await reports.close()


async def silence(settings: Settings) -> None:
    """Wait until nothing is believed any more that workers of other tests have said."""
    reports = Reports(settings.redis_url)

    async def nobody_speaks() -> bool:
        return not await reports.all()

    await eventually(nobody_speaks)
    await reports.close()


async def test_the_list_says_how_each_does_worker_by_worker(
    command: Command, settings: Settings, payments: None
) -> None:
    await silence(settings)
    await told(settings, "11@test", simulator=OPEN)
    await told(settings, "12@test", simulator=Health(BreakerState.CLOSED, calls={"CAPTURED": 3}))

    shown = await command("gateway", "list")
    document = json.loads((await command("gateway", "list", "--json")).stdout)

    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.output.splitlines() if line.strip()}
    for name, calls in (("simulator", (" 40 ", " 25 ")), ("11@test", (" 37 ", " 25 "))):
        for words in ("OPEN", " 70 s ", *calls, " 5.25 s"):
            assert words in lines[name]
    assert "CLOSED" in lines["12@test"]
    assert "UNKNOWN" in lines["simulator-two-calls"]
    assert "No worker says how simulator-two-calls does" in shown.output
    found = {each["name"]: each for each in document}
    assert found["simulator"]["state"] == "OPEN"
    assert len(found["simulator"]["workers"]) == 2
    assert found["simulator-two-calls"]["state"] == "UNKNOWN"


async def test_a_payment_says_when_it_asks_next_and_is_hurried(
    command: Command, billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The gateway took the money and its line broke; the charge is sent again in an hour."""
    await billing.add_card("4000000000014003")
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    payment_id = (await accepted(billing, settings, "/api/v1/payments", body)).json()["id"]
    async with billing.database.read(SYSTEM) as tx:
        row = await payment.find(tx, payment_id)
    assert row is not None
    patient = payment.request(row, Waits(ladder=(timedelta(hours=1),)))
    pursued = await start_payment(temporal_client, patient)

    await silence(settings)

    async def waits() -> str:
        await told(settings, "11@test", simulator=OPEN)
        output = (await command("payment", "show", payment_id)).output
        return output if "send the charge again" in output else ""

    shown = await eventually(waits)
    [timer] = [line for line in shown.splitlines() if "send the charge again" in line]
    assert "min more, until 20" in timer
    assert " UTC: " in timer
    assert "gateway simulator: its breaker is OPEN since 20" in shown
    assert "  tried again at 20" in shown
    assert "  waiting for it: " in shown

    about = {"action": "GATEWAY_HURRIED", "target_id": "simulator"}
    before = await trail(billing.database, **about)

    hurried = await command("gateway", "hurry", "simulator")

    assert "They ask simulator now, 20 a second at most: " in hurried.output
    assert (await pursued.result()).status == "COMPLETED"
    assert len(await trail(billing.database, **about)) == len(before) + 1


async def test_what_is_well_is_told_of_nobody_who_is_done(
    command: Command, billing: Billing
) -> None:
    paid = await billing.pay(await billing.order(1000))

    async def is_over() -> bool:
        return "is at work" not in (await command("payment", "show", paid["id"])).output

    await eventually(is_over)
    assert "gateway simulator" not in (await command("payment", "show", paid["id"])).output


async def test_a_gateway_that_is_not_there_is_refused(command: Command) -> None:
    for name in ("no-such-gateway", "../keys"):
        refused = await command("gateway", "hurry", name)
        assert refused.exit_code == 1

    refused = await command("gateway", "hurry", "no-such-gateway")
    assert isinstance(refused.exception, Missing)
    assert str(refused.exception) == "There is no gateway 'no-such-gateway'."
