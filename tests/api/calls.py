"""The calls of the OpenAPI document, and what of a customer each of them can name."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from api import access
from api.app import create_app
from domain.access import Access
from domain.roles import Role
from runtime.settings import Settings
from tests.api.settling import invoiced
from tests.conftest import served
from tests.support.billing import GOOD_CARD, Billing

OPEN = {"/webhooks/gateway/{name}", "/health/live", "/health/ready", "/metrics"}
OF_NOBODY = {
    "GET /api/v1/coupons/{code}",
    "GET /api/v1/inventory/{sku}",
    "GET /api/v1/rankings",
    "POST /auth/check",
    "GET /auth/permissions",
}
"""What customers may ask and what is no customer's in particular."""
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/payments": {"method": "CARD"},
    "/api/v1/wallet/top-ups": {"amount": 1, "currency": "KRW"},
}
"""What else a request needs, so that it is refused for whose things it names."""


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        if path not in OPEN:
            for method, operation in methods.items():
                yield method.upper(), path, operation


async def things_of(billing: Billing, bill: dict[str, Any] | None = None) -> dict[str, str]:
    """One of each, by the name that paths, queries and bodies give it."""
    bill = bill or await invoiced(billing)
    paid = await billing.pay(await billing.order(1000))
    return {
        "customerId": billing.customer_id,
        "order_id": paid["orderId"],
        "orderId": await billing.order(1000),
        "payment_id": paid["id"],
        "invoice_id": bill["id"],
    }


def names_in(
    path: str, operation: dict[str, Any], document: dict[str, Any]
) -> tuple[set[str], set[str]]:
    """What a request may name: in its path, and in its query or body."""
    parameters = operation.get("parameters", [])
    query = {each["name"] for each in parameters if each["in"] == "query"}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schemas = [content.get("schema", {}), *content.get("schema", {}).get("anyOf", ())]
    models = [each["$ref"].rpartition("/")[2] for each in schemas if "$ref" in each]
    body = {
        name for each in models for name in document["components"]["schemas"][each]["properties"]
    }
    return set(re.findall(r"{(\w+)}", path)), query | body


@dataclass(frozen=True)
class Call:
    """One operation, and what of a customer it can name elsewhere than in its path."""

    method: str
    path: str
    elsewhere: frozenset[str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def of_customers(settings: Settings) -> list[Call]:
    """What somebody who is a customer only may call."""
    document = create_app(settings).openapi()
    found = [
        Call(method, path, frozenset(names_in(path, operation, document)[1]))
        for method, path, operation in operations(document)
        if Role.CUSTOMER in operation["x-roles"]
    ]
    assert len(found) > 15
    return found


@asynccontextmanager
async def acting_as(settings: Settings, who: Access) -> AsyncIterator[httpx2.AsyncClient]:
    """The API as somebody meets it."""
    app = create_app(settings)
    app.dependency_overrides[access.caller] = lambda: who
    async with served(app) as http:
        http.headers["Idempotency-Key"] = uuid4().hex
        yield http


async def with_everything(billing: Billing) -> dict[str, str]:
    """A customer who has one of each, some of it not paid yet."""
    bill = await invoiced(billing)
    await billing.top_up(5_000)
    code = await billing.put_coupon(issueLimit=9)
    card = await billing.add_card(GOOD_CARD)
    return await things_of(billing, bill) | {"code": code, "paymentMethodId": card}


async def ask(
    http: httpx2.AsyncClient, call: Call, named: Mapping[str, str]
) -> tuple[httpx2.Response, set[str]]:
    """One call that names as much of these things as it can; the answer, and what was named."""
    said = {name: named[name] for name in call.elsewhere & named.keys()}
    reads = call.method == "GET"
    answer = await http.request(
        call.method,
        call.path.format_map(named),
        params=said if reads else None,
        json=None if reads else {**BODIES.get(call.path, {}), **said},
        headers={"Idempotency-Key": uuid4().hex},
    )
    return answer, {*said.values(), *(named[name] for name in re.findall(r"{(\w+)}", call.path))}
