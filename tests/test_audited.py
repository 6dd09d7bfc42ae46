"""Whatever writes is in the audit trail: every call of the API, and every command."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from temporalio.client import Client

from api.app import create_app
from cli.settings import os_user
from domain.access import SYSTEM, at_the_machine
from domain.audit import Action, AuditEntry
from domain.dead_letter import JobState, LetterSource, Operation, Wanted
from domain.payment import StockLine
from domain.roles import Role
from gateway.client import PaymentGateway
from runtime.settings import Settings
from store import dead_letter_job, inventory, user
from tests.api.settling import (
    NO_MONEY,
    PERIOD,
    invoiced,
    plan,
    price,
    use,
    waiting_draft,
    world_of_its_own,
)
from tests.cli.conftest import Command, command
from tests.support.audit import SOMEBODY, trail
from tests.support.billing import ALWAYS, Billing
from tests.support.commands import asking, every_command
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.letters import DLQ, many
from tests.support.samples import new_id
from tests.support.tenants import tenants
from tests.support.unfinished import accepted, payment_in_review, refund_in_review

__all__ = ["command"]

DESCRIBED: dict[str, Any] = create_app(
    Settings.model_validate({"billing_environment": "dev"})
).openapi()["paths"]
DATA = {
    "POST /api/v1/usage": "what customers used comes by the million: the row itself is the proof",
    "POST /api/v1/usage/batch": "the same",
    "POST /auth/check": "a question",
    "POST /webhooks/gateway/{name}": "a hint of a PG, kept as it came; nothing follows from it",
}
"""What writes data and is no act: nobody is asked later who did it."""
WHO = at_the_machine(os_user()).caller
LOOKS = frozenset({Action.DATA_VIEWED})


@dataclass(frozen=True)
class World:
    billing: Billing
    settings: Settings
    client: Client


@dataclass(frozen=True)
class Request:
    """A call that writes, with all that it needs made before."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    api: httpx2.AsyncClient | None = None


Prepare = Callable[[World], Awaitable[Request]]
CALLS: dict[str, tuple[Prepare, Action]] = {}


def call(route: str, action: Action) -> Callable[[Prepare], Prepare]:
    """How a route is called, and what it is called in the trail."""

    def note(prepare: Prepare) -> Prepare:
        CALLS[route] = (prepare, action)
        return prepare

    return note


def post(path: str, body: Mapping[str, Any] | None = None) -> Request:
    return Request("POST", path, body or {})


@call("PUT /api/v1/customers/{customerId}", Action.CUSTOMER_CREATED)
async def a_customer(world: World) -> Request:
    return Request("PUT", f"/api/v1/customers/c-{uuid4().hex}", {})


@call("POST /api/v1/customers/{customerId}/payment-methods", Action.PAYMENT_METHOD_ADDED)
async def a_card(world: World) -> Request:
    path = f"/api/v1/customers/{world.billing.customer_id}/payment-methods"
    return post(path, {"billingKey": "bk_4242424242424242", "last4": "4242"})


@call("PUT /api/v1/pricing-plans/{code}", Action.PLAN_VERSION_ADDED)
async def a_plan(world: World) -> Request:
    return Request("PUT", f"/api/v1/pricing-plans/P-{uuid4().hex}", {"currency": "KRW"})


@call("DELETE /api/v1/pricing-plans/{code}", Action.PLAN_WITHDRAWN)
async def no_plan(world: World) -> Request:
    code = f"P-{uuid4().hex}"
    await price(world.billing, code)
    return Request("DELETE", f"/api/v1/pricing-plans/{code}")


async def proposed(world: World) -> str:
    """What one person has proposed: another plan for a customer that has one."""
    await plan(world.billing)
    other = f"P-{uuid4().hex}"
    await price(world.billing, other)
    path = f"/api/v1/customers/{world.billing.customer_id}"
    asked = await world.billing.api.put(path, json={"planCode": other})
    assert asked.status_code == 409, asked.text
    id_: str = asked.json()["proposal"]["id"]
    return id_


@call("DELETE /api/v1/proposals/{proposal_id}", Action.DECISION_WITHDRAWN)
async def no_proposal(world: World) -> Request:
    return Request("DELETE", f"/api/v1/proposals/{await proposed(world)}?reason=a+mistake")


@call("PUT /api/v1/coupons/{code}", Action.COUPON_CREATED)
async def a_coupon(world: World) -> Request:
    body = {"kind": "FIXED", "amounts": {"KRW": 500}, **ALWAYS}
    return Request("PUT", f"/api/v1/coupons/C-{uuid4().hex}", body)


@call("POST /api/v1/coupons/{code}/claims", Action.COUPON_CLAIMED)
async def a_claim(world: World) -> Request:
    return post(f"/api/v1/coupons/{await world.billing.put_coupon(issueLimit=1)}/claims")


@call("PUT /api/v1/inventory/{sku}", Action.STOCK_CREATED)
async def stock(world: World) -> Request:
    return Request("PUT", f"/api/v1/inventory/S-{uuid4().hex}", {"onHand": 5})


@call("POST /api/v1/orders", Action.ORDER_CREATED)
async def an_order(world: World) -> Request:
    item = {"sku": "SKU-1", "quantity": 1, "unitPrice": 100}
    return post("/api/v1/orders", {"currency": "KRW", "items": [item]})


@call("POST /api/v1/payments", Action.PAYMENT_CREATED)
async def a_payment(world: World) -> Request:
    return post("/api/v1/payments", {"orderId": await world.billing.order(), "method": "CARD"})


@call("POST /api/v1/payments/{payment_id}/cancel", Action.PAYMENT_CANCEL_REQUESTED)
async def a_cancellation(world: World) -> Request:
    body = {"orderId": await world.billing.order(), "method": "CARD"}
    pending = await accepted(world.billing, world.settings, "/api/v1/payments", body)
    return post(f"/api/v1/payments/{pending.json()['id']}/cancel")


@call("POST /api/v1/payments/{payment_id}/resolve", Action.PAYMENT_RESOLVED)
async def a_resolution(world: World) -> Request:
    id_ = await payment_in_review(world.billing, world.settings, world.client)
    return post(f"/api/v1/payments/{id_}/resolve", {"outcome": "failed", "reason": "seen"})


@call("POST /api/v1/refunds", Action.REFUND_CREATED)
async def a_refund(world: World) -> Request:
    paid = await world.billing.pay(await world.billing.order())
    return post("/api/v1/refunds", {"paymentId": paid["id"], "reason": "broken"})


@call("POST /api/v1/refunds/{refund_id}/resolve", Action.REFUND_RESOLVED)
async def a_refund_resolution(world: World) -> Request:
    id_ = await refund_in_review(world.billing, world.settings, world.client)
    return post(f"/api/v1/refunds/{id_}/resolve", {"outcome": "refunded", "reason": "seen"})


@call("POST /api/v1/wallet/top-ups", Action.TOP_UP_BOOKED)
async def a_top_up(world: World) -> Request:
    body = {"amount": 100, "currency": "KRW", "source": "BANK_TRANSFER"}
    return post("/api/v1/wallet/top-ups", body)


@call("POST /api/v1/gateways/{name}/hurry", Action.GATEWAY_HURRIED)
async def a_hurry(world: World) -> Request:
    return post("/api/v1/gateways/simulator/hurry")


async def letter(world: World) -> str:
    """A dead letter of nobody else's."""
    [id_] = await many(world.billing.database, 1, customer_id=world.billing.customer_id)
    return id_


@call("POST /api/v1/admin/dlq/{messageId}/replay", Action.DLQ_REPLAY)
async def a_replay(world: World) -> Request:
    return post(f"{DLQ}/{await letter(world)}/replay")


@call("POST /api/v1/admin/dlq/{messageId}/discard", Action.DLQ_DISCARD)
async def a_discard(world: World) -> Request:
    return post(f"{DLQ}/{await letter(world)}/discard", {"reason": "as agreed"})


@call("POST /api/v1/admin/dlq/bulk-replay", Action.DLQ_BULK_REPLAY_DRYRUN)
async def a_dry_run(world: World) -> Request:
    return post(f"{DLQ}/bulk-replay", {"customerId": world.billing.customer_id})


@call("POST /api/v1/admin/dlq/bulk-discard", Action.DLQ_BULK_DISCARD_START)
async def a_job(world: World) -> Request:
    await letter(world)
    return post(f"{DLQ}/bulk-discard", await confirmed(world))


async def confirmed(world: World) -> dict[str, Any]:
    """What starts a job; where another test's has the same letters, once that has ended."""

    async def nobody_is_at_it() -> bool:
        async with world.billing.database.begin(SYSTEM) as tx:
            return await dead_letter_job.under_way(tx, Operation.DISCARD, None) is None

    await eventually(nobody_is_at_it)
    return {"customerId": world.billing.customer_id, "reason": "as agreed", "confirm": True}


async def a_job_that(world: World, *turns: JobState) -> str:
    """Whose workflow nobody has started: it stands as it is told, and stays in nobody's way."""
    wanted = Wanted(LetterSource.WEBHOOK, customer_id=world.billing.customer_id)
    async with world.billing.database.begin(SYSTEM) as tx:
        seen, id_ = await dead_letter_job.snapshot(tx), new_id()
        await dead_letter_job.begin(tx, id_, Operation.REPLAY, wanted, SOMEBODY, None, seen)
        for state in turns:
            await dead_letter_job.move(tx, id_, state)
    return f"{DLQ}/bulk-jobs/{id_}"


@call("POST /api/v1/admin/dlq/bulk-jobs/{job_id}/pause", Action.DLQ_JOB_PAUSED)
async def a_pause(world: World) -> Request:
    return post(f"{await a_job_that(world)}/pause")


@call("POST /api/v1/admin/dlq/bulk-jobs/{job_id}/resume", Action.DLQ_JOB_RESUMED)
async def a_resumption(world: World) -> Request:
    return post(f"{await a_job_that(world, JobState.PAUSED)}/resume")


@call("POST /api/v1/admin/dlq/bulk-jobs/{job_id}/cancel", Action.DLQ_JOB_CANCELLED)
async def a_cancelled_job(world: World) -> Request:
    return post(f"{await a_job_that(world)}/cancel")


async def a_key_of(world: World) -> str:
    made = await world.billing.api.post("/api/v1/keys", json={"name": "test", "role": "service"})
    return str(made.json()["details"]["id"])


@call("POST /api/v1/keys", Action.API_KEY_CREATED)
async def a_key(world: World) -> Request:
    return post("/api/v1/keys", {"name": "test", "role": "service"})


@call("POST /api/v1/keys/{key_id}/rotate", Action.API_KEY_ROTATED)
async def another_key(world: World) -> Request:
    return post(f"/api/v1/keys/{await a_key_of(world)}/rotate")


@call("POST /api/v1/keys/{key_id}/revoke", Action.API_KEY_REVOKED)
async def no_key(world: World) -> Request:
    return post(f"/api/v1/keys/{await a_key_of(world)}/revoke")


@call("POST /api/v1/settlement/run", Action.SETTLEMENT_STARTED)
async def a_settlement(world: World) -> Request:
    await plan(world.billing)
    await use(world.billing, 15_000)
    who = f"customerId={world.billing.customer_id}"
    return post(f"/api/v1/settlement/run?{who}&period={PERIOD}")


async def owed(world: World) -> str:
    """An invoice that is not paid."""
    await world.billing.add_card(NO_MONEY)
    invoice_id: str = (await invoiced(world.billing))["id"]
    return f"/api/v1/invoices/{invoice_id}"


@call("POST /api/v1/invoices/{invoice_id}/pay", Action.INVOICE_PAY_REQUESTED)
async def pay(world: World) -> Request:
    return post(f"{await owed(world)}/pay")


@call("POST /api/v1/invoices/{invoice_id}/paid-outside", Action.INVOICE_PAID_OUTSIDE)
async def paid_outside(world: World) -> Request:
    return post(f"{await owed(world)}/paid-outside", {"reason": "by bank"})


@call("POST /api/v1/invoices/{invoice_id}/write-off", Action.INVOICE_WRITTEN_OFF)
async def write_off(world: World) -> Request:
    return post(f"{await owed(world)}/write-off", {"reason": "bankrupt"})


@call("POST /api/v1/invoices/{invoice_id}/cancel", Action.INVOICE_CANCELLED)
async def cancel(world: World) -> Request:
    return post(f"{await owed(world)}/cancel", {"reason": "a mistake"})


@call("POST /api/v1/invoices/{invoice_id}/approve", Action.INVOICE_APPROVED)
async def approve(world: World) -> Request:
    draft = await waiting_draft(world.billing)
    return post(f"/api/v1/invoices/{draft['id']}/approve", {"reason": "fine"})


@call("POST /api/v1/invoices/{invoice_id}/reject", Action.INVOICE_REJECTED)
async def reject(world: World) -> Request:
    draft = await waiting_draft(world.billing)
    return post(f"/api/v1/invoices/{draft['id']}/reject", {"reason": "too much"})


@call("POST /api/v1/usage/void", Action.USAGE_VOIDED)
async def a_void(world: World) -> Request:
    event_id = await use(world.billing, 5)
    about = {"customerId": world.billing.customer_id, "eventId": event_id}
    return post("/api/v1/usage/void", {**about, "reason": "a typo"})


async def unreturned_stock(world: World) -> str:
    """The payment that could not give it back."""
    billing, sku = world.billing, await world.billing.put_stock(5)
    card = await billing.add_card("4000000000000002")
    failed = await billing.pay(await billing.order(1000), paymentMethodId=card)
    async with billing.database.begin(SYSTEM) as tx:
        assert await inventory.reserve(tx, failed["id"], StockLine(sku, 1))
    await billing.put_stock(5, sku, withdrawn=True)
    async with billing.database.begin(SYSTEM) as tx:
        assert await inventory.restore(tx, failed["id"]) == (0, 1)
    return str(failed["id"])


@call("POST /api/v1/payments/{payment_id}/stock/resolve", Action.STOCK_RESOLVED)
async def stock_let_go(world: World) -> Request:
    path = f"/api/v1/payments/{await unreturned_stock(world)}/stock/resolve"
    return post(path, {"reason": "sold to the staff"})


RUNS = {
    "POST /api/v1/settlement/runs": Action.SETTLEMENT_RUN_STARTED,
    "POST /api/v1/settlement/runs/{period}/replay": Action.SETTLEMENT_RUN_REPLAYED,
}
"""These concern everybody: they have a world of their own."""


def writing_routes() -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, operations in DESCRIBED.items()
        for method in operations
        if method != "get"
    }


def test_every_writing_route_is_called_here_or_is_data() -> None:
    assert writing_routes() == CALLS.keys() | RUNS.keys() | DATA.keys()


@pytest.fixture
def world(
    billing: Billing, settings: Settings, temporal_client: Client, settlements: None
) -> World:
    return World(billing, settings, temporal_client)


async def traced(billing: Billing, request: Request) -> list[AuditEntry]:
    """What the trail has of this very call, also where a workflow wrote it; fails when the call
    did not succeed."""
    trace = uuid4().hex
    headers = {
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
        "Idempotency-Key": uuid4().hex,
        "X-Customer-Id": billing.customer_id,
    }
    answer = await billing.api.request(
        request.method, request.path, json=request.body, headers=headers
    )
    assert answer.is_success, answer.text
    return await trail(billing.database, trace_id=trace)


@pytest.mark.parametrize("route", CALLS)
async def test_a_call_that_writes_is_in_the_trail(world: World, route: str) -> None:
    prepare, action = CALLS[route]
    request = await prepare(world)

    noted = await traced(world.billing, request)

    assert action in [each.action for each in noted], f"{route} appended {noted}"
    assert {each.actor_id for each in noted} == {f"dev/{world.billing.customer_id}"}
    if request.body and "reason" in request.body:
        assert [each.reason for each in noted if each.action == action] == [request.body["reason"]]


async def test_a_call_that_is_not_noted_would_be_seen(world: World) -> None:
    """So the test above can fail: these are not."""
    event = {"eventId": uuid4().hex, "resourceType": "API_CALL", "quantity": 1}
    when = {"customerId": world.billing.customer_id, "occurredAt": "2026-05-10T00:00:00Z"}

    assert await traced(world.billing, post("/api/v1/usage", event | when)) == []


async def test_a_run_and_its_replay_are_in_the_trail(
    billing: Billing, settings: Settings, gateways: Mapping[str, PaymentGateway]
) -> None:
    async with world_of_its_own(billing, settings, gateways["simulator"]) as mine:
        await plan(mine)
        await use(mine, 5, resource_type="POISON")
        path = "/api/v1/settlement/runs"

        started = await traced(mine, post(path, {"period": PERIOD}))

        async def failed() -> bool:
            return bool((await mine.get(f"{path}/{PERIOD}"))["failed"])

        await eventually(failed)
        replayed = await traced(mine, post(f"{path}/{PERIOD}/replay"))

    assert [each.action for each in started] == ["SETTLEMENT_RUN_STARTED"]
    assert [each.action for each in replayed] == ["SETTLEMENT_RUN_REPLAYED"]
    assert [each.target_id for each in (*started, *replayed)] == [PERIOD, PERIOD]


# The commands.

READING = {
    *("payment list", "payment show", "order list", "order show", "refund list", "refund show"),
    *("customer list", "customer show", "wallet list", "wallet show", "wallet transactions"),
    *("review list", "gateway list", "settlement report", "settlement failed"),
    *(
        "invoice list",
        "invoice show",
        "invoice explain",
        "invoice verify",
        "settlement list",
        "plan list",
        "plan show",
        "coupon list",
        "webhook list",
        "invoice lineage",
        "usage list",
    ),
    *("review stock", "proposal list", "key list", "dead-letter list"),
    *("dead-letter show", "dead-letter stats"),
    *("status", "doctor", "verify", "audit list", "audit verify", "audit anchor"),
    *("login", "whoami", "logout"),  # what they write is a file of whoever types them
    *("user list", "auth keys", "deploy check", "deploy list", "deploy stuck"),
    "restore compare",
}
OF_EVERYBODY = {"audit cut"}
"""It writes to a trail that is its test's alone: tests/cli/test_audit.py runs it."""
OF_THE_MACHINE = {
    *("demo", "integration-demo", "dev", "api", "worker", "migrate", "seed", "codec-server"),
    "auth",
}
"""They run processes, make tables as their owner, or fill those of development."""

NOBODYS_MONEY = {
    *("gateway hurry", "outbox republish", "dead-letter job", "proposal withdraw", "audit export"),
    *("key create", "key rotate", "key revoke", "auth rotate-keys"),
    *("user create", "user disable", "user set-password", "user set-roles", "user unlock"),
}
"""What these change no customer ever owes or gets: nobody is asked before."""

Arguments = Callable[[World], Awaitable[tuple[str, ...]]]
COMMANDS: dict[str, tuple[Arguments, Action]] = {}


def writes(name: str, action: Action) -> Callable[[Arguments], Arguments]:
    def note(arguments: Arguments) -> Arguments:
        COMMANDS[name] = (arguments, action)
        return arguments

    return note


@writes("review restock", Action.STOCK_RESOLVED)
async def restock(world: World) -> tuple[str, ...]:
    return await unreturned_stock(world), "--reason", "sold to the staff"


@writes("review resolve", Action.PAYMENT_RESOLVED)
async def resolve(world: World) -> tuple[str, ...]:
    id_ = await payment_in_review(world.billing, world.settings, world.client)
    return id_, "failed", "--reason", "not there"


@writes("gateway hurry", Action.GATEWAY_HURRIED)
async def hurry(world: World) -> tuple[str, ...]:
    return ("simulator",)


@writes("outbox republish", Action.EVENTS_REPUBLISHED)
async def republish(world: World) -> tuple[str, ...]:
    return "--topic", "billing.order.failed"


@writes("settlement run", Action.SETTLEMENT_RUN_STARTED)
async def run(world: World) -> tuple[str, ...]:
    wanted = await tenants(world.billing.database, "2023-11", 1)
    return wanted.period, "--customer", wanted.customers[0]


@writes("settlement replay", Action.SETTLEMENT_RUN_STARTED)
async def replay(world: World) -> tuple[str, ...]:
    wanted = await tenants(world.billing.database, "2023-12", 1, poisoned=1)
    path = f"/api/v1/settlement/run?customerId={wanted.customers[0]}&period={wanted.period}"
    assert (await world.billing.api.post(path)).status_code == 422
    await wanted.mend()
    return wanted.period, "--customer", wanted.customers[0]


@writes("invoice approve", Action.INVOICE_APPROVED)
async def approve_(world: World) -> tuple[str, ...]:
    return (await waiting_draft(world.billing))["id"], "--reason", "fine"


@writes("invoice reject", Action.INVOICE_REJECTED)
async def reject_(world: World) -> tuple[str, ...]:
    return (await waiting_draft(world.billing))["id"], "--reason", "too much"


@writes("invoice pay", Action.INVOICE_PAY_REQUESTED)
async def pay_(world: World) -> tuple[str, ...]:
    unpaid = (await owed(world)).rpartition("/")[2]
    await world.billing.add_card("4242424242424242")
    return (unpaid,)


async def closing(world: World) -> tuple[str, ...]:
    return (await owed(world)).rpartition("/")[2], "--reason", "as agreed"


COMMANDS["invoice paid-outside"] = (closing, Action.INVOICE_PAID_OUTSIDE)
COMMANDS["invoice write-off"] = (closing, Action.INVOICE_WRITTEN_OFF)
COMMANDS["invoice cancel"] = (closing, Action.INVOICE_CANCELLED)


@writes("proposal withdraw", Action.DECISION_WITHDRAWN)
async def withdraw(world: World) -> tuple[str, ...]:
    return await proposed(world), "--reason", "a mistake"


@writes("dead-letter replay", Action.DLQ_REPLAY)
async def replay_letter(world: World) -> tuple[str, ...]:
    return (await letter(world),)


@writes("dead-letter discard", Action.DLQ_DISCARD)
async def discard_letter(world: World) -> tuple[str, ...]:
    return await letter(world), "--reason", "as agreed"


@writes("dead-letter bulk-replay", Action.DLQ_BULK_REPLAY_DRYRUN)
async def replay_letters(world: World) -> tuple[str, ...]:
    return "--customer", world.billing.customer_id, "--dry-run"


@writes("dead-letter bulk-discard", Action.DLQ_BULK_DISCARD_START)
async def discard_letters(world: World) -> tuple[str, ...]:
    await letter(world)
    await confirmed(world)
    return "--customer", world.billing.customer_id, "--reason", "as agreed"


@writes("dead-letter job", Action.DLQ_JOB_CANCELLED)
async def cancel_job(world: World) -> tuple[str, ...]:
    return (await a_job_that(world)).rpartition("/")[2], "--cancel"


@writes("usage void", Action.USAGE_VOIDED)
async def void(world: World) -> tuple[str, ...]:
    event_id = await use(world.billing, 5)
    return world.billing.customer_id, event_id, "--reason", "a typo"


@writes("audit export", Action.DATA_EXPORTED)
async def export(world: World) -> tuple[str, ...]:
    return ()


@writes("key create", Action.API_KEY_CREATED)
async def make_key(world: World) -> tuple[str, ...]:
    return ("metering",)


@writes("key rotate", Action.API_KEY_ROTATED)
async def replace_key(world: World) -> tuple[str, ...]:
    return (await a_key_of(world),)


@writes("key revoke", Action.API_KEY_REVOKED)
async def end_key(world: World) -> tuple[str, ...]:
    return (await a_key_of(world),)


@writes("user create", Action.USER_CREATED)
async def let_in(world: World) -> tuple[str, ...]:
    return f"u-{uuid4().hex}", "--role", "operator"


async def a_user(world: World) -> tuple[str, ...]:
    async with connected(world.settings.auth_database_url) as its_own, its_own.begin(SYSTEM) as tx:
        made = await user.add(tx, new_id(), f"u-{uuid4().hex}", "none", {Role.FINANCE}, None)
    assert made is not None
    return (made.name,)


COMMANDS["user disable"] = (a_user, Action.USER_DISABLED)
COMMANDS["user set-password"] = (a_user, Action.USER_PASSWORD_SET)
COMMANDS["user unlock"] = (a_user, Action.ACCOUNT_UNLOCKED)


@writes("user set-roles", Action.USER_ROLES_SET)
async def another_role(world: World) -> tuple[str, ...]:
    return *await a_user(world), "--role", "admin"


@writes("auth rotate-keys", Action.SIGNING_KEY_ADDED)
async def another_signing_key(world: World) -> tuple[str, ...]:
    return ()


def test_every_command_is_run_here_or_writes_nothing() -> None:
    known = COMMANDS.keys() | OF_EVERYBODY | READING | OF_THE_MACHINE
    assert {name for name, _ in every_command()} == known


def test_every_command_that_moves_money_asks_before() -> None:
    assert asking() == COMMANDS.keys() - NOBODYS_MONEY


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_that_writes_is_in_the_trail(
    world: World, command: Command, name: str
) -> None:
    arguments, action = COMMANDS[name]
    words = await arguments(world)
    before = {each.id for each in await trail(world.billing.database, actor_id=WHO)}
    agreed = ("--yes",) if name in asking() - {"dead-letter bulk-replay"} else ()

    told = await command(*name.split(), *agreed, *words, stdin="a password for those who ask\n")

    assert told.exit_code == 0, told.output
    after = await trail(world.billing.database, actor_id=WHO)
    noted = [each for each in after if each.id not in before and each.action not in LOOKS]
    assert action in [each.action for each in noted]
    assert {each.actor_type for each in noted} <= {"OPERATOR", "FINANCE", "ADMIN"}
    if "--reason" in words:
        assert [each.reason for each in noted if each.action == action] == [words[-1]]


@pytest.mark.parametrize(
    "name", sorted(COMMANDS.keys() - NOBODYS_MONEY - {"dead-letter bulk-replay"})
)
async def test_what_is_only_shown_is_not_done(world: World, command: Command, name: str) -> None:
    arguments, action = COMMANDS[name]
    words = await arguments(world)
    before = {each.id for each in await trail(world.billing.database, actor_id=WHO)}

    told = await command(*name.split(), *words, "--dry-run")
    alone = await command(*name.split(), *words)

    assert told.exit_code == 0, told.output
    assert told.stdout, "it says what would be done"
    assert str(alone.exception).startswith("Nobody is here to be asked: say --yes")
    after = await trail(world.billing.database, actor_id=WHO)
    assert action not in [each.action for each in after if each.id not in before]
