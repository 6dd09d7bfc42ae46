"""Calls to the gateway, run twice: one effect, one answer. Heartbeats while they wait."""

from collections.abc import Mapping
from dataclasses import replace

from temporalio.testing import ActivityEnvironment

from activities.gateway import GatewayActivities
from activities.heartbeat import EVERY_SECONDS
from domain.access import SYSTEM
from domain.gateway import GatewayRequest, GatewayStatus, Operation
from domain.payment import PaymentRequest
from domain.refund import RefundRequest
from gateway.client import PaymentGateway
from store import customer
from store.key_ring import NO_KEYS, parse
from tests.support.cashier import Cashier
from tests.support.samples import new_id
from tests.support.sealing import NEW, OLD
from tests.workflows.conftest import Connections


def charge_of(payment: PaymentRequest) -> GatewayRequest:
    return payment.gateway_request(Operation.CHARGE)


async def test_a_charge_and_a_refund_sent_twice_happen_once(
    gateways: Mapping[str, PaymentGateway], cashier: Cashier
) -> None:
    activities = GatewayActivities(gateways, NO_KEYS)
    request = await cashier.prepare(0, 2000)
    refund = RefundRequest(
        new_id(), request.payment_id, request.customer_id, "KRW", 500, 0, gateway=request.gateway
    )

    charges = [await ActivityEnvironment().run(activities.charge, charge_of(request)) for _ in "12"]
    refunds = [
        await ActivityEnvironment().run(activities.refund, refund.gateway_refund()) for _ in "12"
    ]

    assert charges[0] == charges[1]
    assert refunds[0] == refunds[1]
    totals = (await cashier.billing.book(request.payment_id))["totals"]["KRW"]
    assert totals == {"captured": 2000, "refunded": 500}


async def test_an_inquiry_changes_nothing(
    gateways: Mapping[str, PaymentGateway], cashier: Cashier
) -> None:
    activities = GatewayActivities(gateways, NO_KEYS)
    request = await cashier.prepare(0, 2000)

    before = await ActivityEnvironment().run(activities.inquire, charge_of(request))
    charged = await ActivityEnvironment().run(activities.charge, charge_of(request))
    after = await ActivityEnvironment().run(activities.inquire, charge_of(request))

    assert before.status is GatewayStatus.NOT_FOUND
    assert after == charged


async def test_a_long_wait_for_the_gateway_beats(
    connections: Connections, gateways: Mapping[str, PaymentGateway], cashier: Cashier
) -> None:
    """So that the death of its worker is noticed in seconds."""
    name, _ = connections.add()
    request = await cashier.prepare(0, 2000, gateway=name)
    await cashier.misbehave(request, "slow", operation="charge", seconds=EVERY_SECONDS * 1.5 * 200)
    environment = ActivityEnvironment()
    beats: list[tuple[object, ...]] = []
    environment.on_heartbeat = lambda *details: beats.append(details)

    answer = await environment.run(GatewayActivities(gateways, NO_KEYS).charge, charge_of(request))

    assert answer.status is GatewayStatus.CAPTURED
    assert beats


async def test_a_sealed_billing_key_is_opened_for_the_pg_alone(
    gateways: Mapping[str, PaymentGateway], cashier: Cashier
) -> None:
    ring = parse(OLD)
    made = await cashier.prepare(0, 2000)
    async with cashier.billing.database.begin(SYSTEM) as tx:
        card = await customer.add_payment_method(
            tx, new_id(), made.customer_id, "simulator", made.billing_key, "4242", True, ring
        )
    sealed = replace(made, billing_key=card.billing_key)
    stolen = replace(sealed, customer_id="another")

    assert made.billing_key not in card.billing_key
    for keys, request in ((NO_KEYS, sealed), (parse(NEW), sealed), (ring, stolen)):
        refused = await ActivityEnvironment().run(
            GatewayActivities(gateways, keys).charge, charge_of(request)
        )
        assert refused.status is GatewayStatus.NOT_SENT
    assert not (await cashier.billing.book(made.payment_id))["payments"]
    charged = await ActivityEnvironment().run(
        GatewayActivities(gateways, parse(f"{NEW},{OLD}")).charge, charge_of(sealed)
    )
    assert charged.status is GatewayStatus.CAPTURED
