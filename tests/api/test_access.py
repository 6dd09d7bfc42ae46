"""Who may do what: the column "who" of the table of calls, row by row, deny by default."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from api import access
from api.access import allow
from api.app import create_app
from domain.access import Access, Role
from domain.errors import NotFound
from runtime.settings import Settings
from tests.api.documents import refused, rows_of
from tests.conftest import served
from tests.support.billing import Billing

C, S, O = Role.CUSTOMER, Role.SERVICE, Role.OPERATOR  # noqa: E741

NOBODY = "00000000-0000-0000-0000-000000000000"
WHO = {
    "POST /api/v1/orders": {S, O},
    "GET /api/v1/orders/{order_id}": {C, S, O},
    "POST /api/v1/payments": {C, S, O},
    "GET /api/v1/payments": {C, S, O},
    "GET /api/v1/payments/{payment_id}": {C, S, O},
    "POST /api/v1/payments/{payment_id}/cancel": {S, O},
    "POST /api/v1/payments/{payment_id}/resolve": {O},
    "POST /api/v1/refunds": {S, O},
    "GET /api/v1/refunds/{refund_id}": {S, O},
    "POST /api/v1/refunds/{refund_id}/resolve": {O},
    "GET /api/v1/wallet": {C, S, O},
    "GET /api/v1/wallet/transactions": {C, S, O},
    "POST /api/v1/wallet/top-ups": {C, S, O},
    "GET /api/v1/points": {C, S, O},
    "PUT /api/v1/coupons/{code}": {O},
    "GET /api/v1/coupons/{code}": {C, S, O},
    "POST /api/v1/coupons/{code}/claims": {C, S, O},
    "PUT /api/v1/inventory/{sku}": {O},
    "GET /api/v1/inventory/{sku}": {C, S, O},
    "GET /api/v1/rankings": {C, S, O},
    "PUT /api/v1/customers/{customerId}": {O},
    "GET /api/v1/customers/{customerId}": {C, S, O},
    "GET /api/v1/customers/{customerId}/payment-methods": {C, S, O},
    "POST /api/v1/customers/{customerId}/payment-methods": {O},
    "POST /api/v1/usage": {S, O},
    "POST /api/v1/usage/batch": {S, O},
    "PUT /api/v1/pricing-plans/{code}": {O},
    "GET /api/v1/pricing-plans/{code}": {O},
    "DELETE /api/v1/pricing-plans/{code}": {O},
    "POST /api/v1/settlement/run": {O},
    "POST /api/v1/settlement/runs": {O},
    "GET /api/v1/settlement/runs/{period}": {O},
    "POST /api/v1/settlement/runs/{period}/replay": {O},
    "GET /api/v1/invoices": {C, S, O},
    "GET /api/v2/invoices": {C, S, O},
    "GET /api/v1/invoices/{invoice_id}": {C, S, O},
    "GET /api/v1/invoices/{invoice_id}/lineage": {C, S, O},
    "POST /api/v1/invoices/{invoice_id}/pay": {C, O},
    "POST /api/v1/invoices/{invoice_id}/paid-outside": {O},
    "POST /api/v1/invoices/{invoice_id}/write-off": {O},
    "POST /api/v1/invoices/{invoice_id}/cancel": {O},
    "POST /api/v1/invoices/{invoice_id}/approve": {O},
    "POST /api/v1/invoices/{invoice_id}/reject": {O},
    "GET /api/v1/aged-receivables": {O},
    "POST /api/v1/keys": {O},
    "GET /api/v1/keys": {O},
    "POST /api/v1/keys/{key_id}/rotate": {O},
    "POST /api/v1/keys/{key_id}/revoke": {O},
}
OPEN = {"/webhooks/gateway/{name}", "/health/live", "/health/ready", "/metrics"}

Acting = Callable[[Access], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def acting(settings: Settings) -> Acting:
    """The API as somebody with these roles meets it."""

    @asynccontextmanager
    async def acting_as(who: Access) -> AsyncIterator[httpx2.AsyncClient]:
        app = create_app(settings)
        app.dependency_overrides[access._dev_access] = lambda: who
        async with served(app) as http:
            http.headers["Idempotency-Key"] = uuid4().hex
            yield http

    return acting_as


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


@pytest.mark.parametrize("roles", [(), (C,), (S,), (O,)], ids=["nobody", "C", "S", "O"])
async def test_a_role_that_is_not_listed_meets_nothing(
    billing: Billing, acting: Acting, roles: tuple[Role, ...]
) -> None:
    """Refused before its request is looked at; who is listed hears what is wrong with it."""
    who = Access("test", frozenset(roles), billing.customer_id)
    async with acting(who) as http:
        for call, listed in WHO.items():
            method, _, path = call.partition(" ")
            for name in ("order_id", "payment_id", "refund_id", "invoice_id"):
                path = path.replace(f"{{{name}}}", NOBODY)
            path = path.replace("{customerId}", "x y")
            answer = await http.request(method, path)
            denied = answer.status_code == 404 and "no such thing" in answer.json()["detail"]
            assert denied == (not set(roles) & listed), f"{call}: {answer.text}"


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
            await http.get("/api/v1/payments", params={"orderId": order_id}),
            await http.get("/api/v1/payments", params={"orderId": payable}),
            await http.get("/api/v1/wallet", params={"customerId": other.customer_id}),
            await http.get("/api/v1/wallet/transactions", params={"customerId": other.customer_id}),
            await http.post("/api/v1/payments", json=pay),
            await http.post("/api/v1/wallet/top-ups", json=top_up),
        ):
            refused(answer, 404, "not-found")

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
    assert listed.json() == [paid.json()]
    assert order.json()["status"] == "COMPLETED"
    assert wallet.json()["customerId"] == billing.customer_id


async def test_only_an_operator_books_what_the_bank_received(
    billing: Billing, acting: Acting
) -> None:
    """A customer who could say that money has arrived would be rich."""
    body = {"amount": 5000, "currency": "KRW", "source": "BANK_TRANSFER"}

    for role in (C, S):
        async with acting(customer(billing, role)) as http:
            refused(await http.post("/api/v1/wallet/top-ups", json=body), 404, "not-found")
    assert await billing.balance() == (0, 0)

    async with acting(customer(billing, O)) as http:
        assert (await http.post("/api/v1/wallet/top-ups", json=body)).status_code == 201
    assert await billing.balance() == (5000, 0)


async def test_the_dependency_lets_only_the_listed_in() -> None:
    operator = Access("o", frozenset({O}), "demo")
    nobody = Access("n", frozenset(), "demo")
    check: Callable[[Access], Any] = allow(S, O)

    assert await check(operator) is operator
    for refused_one in (nobody, Access("c", frozenset({C}), "demo")):
        with pytest.raises(NotFound):
            await check(refused_one)


@pytest.mark.parametrize("roles", [(), (C,)], ids=["nobody", "C"])
def test_without_a_role_for_it_others_do_not_exist(roles: tuple[Role, ...]) -> None:
    who = Access("x", frozenset(roles), "mine")

    who.require("mine")
    for other in ("yours", "MINE", "mine ", ""):
        with pytest.raises(NotFound):
            who.require(other)


@pytest.mark.parametrize("roles", [(S,), (O,), (C, O), (C, S, O)])
def test_services_and_operators_act_for_everybody(roles: tuple[Role, ...]) -> None:
    Access("x", frozenset(roles), "mine").require("yours")
