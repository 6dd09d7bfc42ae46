"""Who may do what: the column "who" of the table of calls, row by row, deny by default."""

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from api import access
from api.app import create_app
from api.fields import OS_USER
from domain.access import Access
from domain.errors import InsufficientRole, InvalidRequest, NotFound
from domain.roles import Action, Role
from runtime.settings import Settings
from tests.api.conftest import Acting
from tests.api.documents import refused, rows_of
from tests.support.billing import Billing

C, S, O, F, A = Role  # noqa: E741

NOBODY = "00000000-0000-0000-0000-000000000000"
WHO = {
    "POST /api/v1/orders": {S, O},
    "GET /api/v1/orders/{order_id}": {C, S, O, F, A},
    "POST /api/v1/payments": {C, S, O},
    "GET /api/v1/payments": {C, S, O, F, A},
    "GET /api/v1/payments/{payment_id}": {C, S, O, F, A},
    "POST /api/v1/payments/{payment_id}/cancel": {S, O},
    "POST /api/v1/payments/{payment_id}/resolve": {O},
    "POST /api/v1/refunds": {S, O, F},
    "GET /api/v1/refunds/{refund_id}": {S, O, F, A},
    "POST /api/v1/refunds/{refund_id}/resolve": {O},
    "GET /api/v1/wallet": {C, S, O, F, A},
    "GET /api/v1/wallets": {C, S, O, F, A},
    "GET /api/v1/orders": {C, S, O, F, A},
    "GET /api/v1/refunds": {S, O, F, A},
    "GET /api/v1/customers": {C, S, O, F, A},
    "GET /api/v1/wallet/transactions": {C, S, O, F, A},
    "POST /api/v1/wallet/top-ups": {C, S, O, F},
    "GET /api/v1/points": {C, S, O, F, A},
    "PUT /api/v1/coupons/{code}": {O, A},
    "GET /api/v1/coupons/{code}": {C, S, O, F, A},
    "POST /api/v1/coupons/{code}/claims": {C, S, O},
    "PUT /api/v1/inventory/{sku}": {O, A},
    "GET /api/v1/inventory/{sku}": {C, S, O, F, A},
    "GET /api/v1/rankings": {C, S, O, F, A},
    "PUT /api/v1/customers/{customerId}": {O, A},
    "GET /api/v1/customers/{customerId}": {C, S, O, F, A},
    "GET /api/v1/customers/{customerId}/payment-methods": {C, S, O, F, A},
    "POST /api/v1/customers/{customerId}/payment-methods": {O, A},
    "POST /api/v1/usage": {S, O},
    "GET /api/v1/usage": {C, S, O, F, A},
    "POST /api/v1/usage/batch": {S, O},
    "PUT /api/v1/pricing-plans/{code}": {O, F, A},
    "GET /api/v1/pricing-plans/{code}": {O, F, A},
    "DELETE /api/v1/pricing-plans/{code}": {O, F, A},
    "POST /api/v1/settlement/run": {O, F},
    "POST /api/v1/settlement/runs": {O, F},
    "GET /api/v1/settlement/runs/{period}": {O, F, A},
    "POST /api/v1/settlement/runs/{period}/replay": {O, F},
    "GET /api/v1/invoices": {C, S, O, F, A},
    "GET /api/v2/invoices": {C, S, O, F, A},
    "GET /api/v1/invoices/{invoice_id}": {C, S, O, F, A},
    "GET /api/v1/invoices/{invoice_id}/lineage": {C, S, O, F, A},
    "GET /api/v1/invoices/{invoice_id}/lineage/events": {C, S, O, F, A},
    "GET /api/v1/invoices/{invoice_id}/lineage/events/export": {C, S, O, F, A},
    "GET /api/v1/invoices/{invoice_id}/recomputation": {O, F, A},
    "POST /api/v1/invoices/{invoice_id}/pay": {C, O, F},
    "POST /api/v1/invoices/{invoice_id}/paid-outside": {O, F},
    "POST /api/v1/invoices/{invoice_id}/write-off": {O, F},
    "POST /api/v1/invoices/{invoice_id}/cancel": {O, F},
    "POST /api/v1/invoices/{invoice_id}/approve": {O, F},
    "POST /api/v1/invoices/{invoice_id}/reject": {O, F},
    "GET /api/v1/aged-receivables": {O, F, A},
    "GET /api/v1/status": {O, F, A},
    "GET /api/v1/proposals": {O, F, A},
    "DELETE /api/v1/proposals/{proposal_id}": {O, F, A},
    "GET /api/v1/stories/{id}": {O, F, A},
    "GET /api/v1/reviews": {O, F, A},
    "GET /api/v1/gateways": {O, F, A},
    "POST /api/v1/gateways/{name}/hurry": {O},
    "GET /api/v1/webhooks": {O, F, A},
    "GET /api/v1/settlements": {O, F, A},
    "GET /api/v1/pricing-plans": {O, F, A},
    "GET /api/v1/coupons": {O, F, A},
    "GET /api/v1/reviews/stock": {O, F, A},
    "POST /api/v1/payments/{payment_id}/stock/resolve": {O, A},
    "POST /api/v1/usage/void": {O, F},
    "GET /api/v1/settlement/run": {O, F, A},
    "GET /api/v1/settlement/runs/{period}/progress": {O, F, A},
    "GET /api/v1/audit": {O, A},
    "GET /api/v1/admin/dlq": {A},
    "GET /api/v1/admin/dlq/stats": {A},
    "GET /api/v1/admin/dlq/{messageId}": {A},
    "POST /api/v1/admin/dlq/{messageId}/replay": {A},
    "POST /api/v1/admin/dlq/{messageId}/discard": {A},
    "POST /api/v1/admin/dlq/bulk-replay": {A},
    "POST /api/v1/admin/dlq/bulk-discard": {A},
    "GET /api/v1/admin/dlq/bulk-jobs/{job_id}": {A},
    "GET /api/v1/admin/dlq/bulk-jobs/{job_id}/items": {A},
    "POST /api/v1/admin/dlq/bulk-jobs/{job_id}/pause": {A},
    "POST /api/v1/admin/dlq/bulk-jobs/{job_id}/resume": {A},
    "POST /api/v1/admin/dlq/bulk-jobs/{job_id}/cancel": {A},
    "POST /auth/check": {C, S, O, F, A},
    "POST /api/v1/keys": {A},
    "GET /api/v1/keys": {A},
    "POST /api/v1/keys/{key_id}/rotate": {A},
    "POST /api/v1/keys/{key_id}/revoke": {A},
    "GET /auth/permissions": {C, S, O, F, A},
}
OPEN = {"/webhooks/gateway/{name}", "/health/live", "/health/ready", "/metrics"}


def customer(billing: Billing, *roles: Role) -> Access:
    roles = roles or (Role.CUSTOMER,)
    return Access(f"test/{billing.customer_id}", frozenset(roles), billing.customer_id)


def test_the_table_names_every_call(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    calls = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if path not in OPEN
    }
    assert calls == set(WHO)


@pytest.mark.parametrize("roles", [(), *((role,) for role in Role)], ids=str)
async def test_a_role_that_is_not_listed_meets_nothing(
    billing: Billing, acting: Acting, roles: tuple[Role, ...]
) -> None:
    """Refused before its request is looked at; who is listed hears what is wrong with it."""
    who = Access("test", frozenset(roles), billing.customer_id)
    async with acting(who) as http:
        for call, listed in WHO.items():
            method, _, path = call.partition(" ")
            for name in (
                "order_id",
                "payment_id",
                "refund_id",
                "invoice_id",
                "proposal_id",
                "dead_letter_id",
                "id",
            ):
                path = path.replace(f"{{{name}}}", NOBODY)
            path = path.replace("{customerId}", "x y")
            answer = await http.request(method, path)
            denied = answer.status_code == 403
            assert denied == (not set(roles) & listed), f"{call}: {answer.text}"
            if denied:
                refused(answer, 403, "insufficient-role")
                assert all(role in answer.json()["detail"] for role in listed), answer.text


async def test_a_customer_meets_nothing_of_another(billing: Billing, acting: Acting) -> None:
    """Everything of the other one answers as if it did not exist, and nothing is written."""
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    await other.top_up(5000)
    order_id = await other.order(1000)
    payable = await other.order(2000)
    paid = await other.pay(order_id)
    before = await rows_of(billing.database, other.customer_id)
    pay = {"orderId": payable, "method": "WALLET"}
    top_up = {"amount": 1, "currency": "KRW", "customerId": other.customer_id}

    async with acting(customer(billing)) as http:
        for answer in (
            await http.get(f"/api/v1/orders/{order_id}"),
            await http.get(f"/api/v1/payments/{paid['id']}"),
            await http.get("/api/v1/payments", params={"customerId": other.customer_id}),
            await http.get("/api/v1/wallet", params={"customerId": other.customer_id}),
            await http.get("/api/v1/wallet/transactions", params={"customerId": other.customer_id}),
            await http.post("/api/v1/payments", json=pay),
            await http.post("/api/v1/wallet/top-ups", json=top_up),
        ):
            refused(answer, 404, "not-found")
        listed = await http.get("/api/v1/payments", params={"orderId": order_id})
        assert listed.json()["items"] == []

    assert await rows_of(billing.database, other.customer_id) == before
    assert await other.balance() == (5000, 0)


async def test_a_customer_meets_what_is_theirs(billing: Billing, acting: Acting) -> None:
    order_id = await billing.order(1000)

    async with acting(customer(billing)) as http:
        paid = await http.post("/api/v1/payments", json={"orderId": order_id, "method": "CARD"})
        seen = await http.get(f"/api/v1/payments/{paid.json()['id']}")
        order = await http.get(f"/api/v1/orders/{order_id}")
        listed = await http.get("/api/v1/payments", params={"orderId": order_id})
        wallet = await http.get("/api/v1/wallet")

    assert (paid.status_code, paid.json()["status"]) == (201, "COMPLETED")
    assert seen.json() == paid.json()
    assert listed.json()["items"] == [paid.json()]
    assert order.json()["status"] == "COMPLETED"
    assert wallet.json()["customerId"] == billing.customer_id


async def test_only_staff_books_what_the_bank_received(billing: Billing, acting: Acting) -> None:
    """A customer who could say that money has arrived would be rich."""
    body = {"amount": 5000, "currency": "KRW", "source": "BANK_TRANSFER"}

    for role in (C, S):
        async with acting(customer(billing, role)) as http:
            refused(await http.post("/api/v1/wallet/top-ups", json=body), 403, "insufficient-role")
    assert await billing.balance() == (0, 0)

    for role in (O, F):
        async with acting(customer(billing, role)) as http:
            assert (await http.post("/api/v1/wallet/top-ups", json=body)).status_code == 201
    assert await billing.balance() == (10_000, 0)


def test_who_is_nothing_may_do_nothing() -> None:
    for action in Action:
        with pytest.raises(InsufficientRole):
            Access("n", frozenset(), "demo").to(action)


def test_one_acts_only_by_the_roles_that_may() -> None:
    """Who is a customer and in finance besides pays, as a customer, for itself alone."""
    both = Access("b", frozenset({C, F}), "mine")

    both.to(Action.INVOICE_READ).require("yours")
    paying = both.to(Action.PAYMENT_CREATE)
    paying.require("mine")
    with pytest.raises(NotFound):
        paying.require("yours")


def test_who_is_no_customer_has_to_name_one() -> None:
    service = Access("s", frozenset({S}), "")

    assert service.named("yours") == "yours"
    with pytest.raises(InvalidRequest):
        service.named(None)


@pytest.mark.parametrize("roles", [(), (C,)], ids=["nobody", "C"])
def test_without_a_role_for_it_others_do_not_exist(roles: tuple[Role, ...]) -> None:
    who = Access("x", frozenset(roles), "mine")

    who.require("mine")
    for other in ("yours", "MINE", "mine ", ""):
        with pytest.raises(NotFound):
            who.require(other)


@pytest.mark.parametrize("roles", [(S,), (O,), (F,), (A,), (C, O), (C, S, O)])
def test_others_act_for_everybody(roles: tuple[Role, ...]) -> None:
    Access("x", frozenset(roles), "mine").require("yours")


def test_a_route_that_names_no_action_makes_no_application() -> None:
    """Deny by default: whoever forgets it notices at once."""
    router = APIRouter()

    @router.get("/free-for-all")
    async def free_for_all() -> None:
        pass

    [route] = router.routes
    assert isinstance(route, APIRoute)
    with pytest.raises(LookupError, match="free-for-all"):
        access.action_of(route)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../root", "a\u00e9"])
async def test_a_user_of_the_machine_has_a_name_that_can_be_one(
    billing: Billing, name: str
) -> None:
    sent = {OS_USER.encode(): name.encode("latin-1")}

    answer = await billing.api.get("/api/v1/audit", headers=sent)

    refused(answer, 400, "invalid-request")
