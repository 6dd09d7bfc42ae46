"""Every route of the OpenAPI document, asked by those who may not: without a token, with every
role that it does not list, and by a customer for the things of another."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from api.app import create_app
from domain.roles import Role
from runtime.settings import Settings
from tests.api.calls import BODIES, OF_NOBODY, names_in, operations, things_of
from tests.api.documents import refused, rows_of
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.issuer import LocalIssuer, local_issuer


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[LocalIssuer]:
    async with local_issuer() as running:
        yield running


@pytest.fixture(scope="module")
async def closed(settings: Settings, issuer: LocalIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    """The API with an issuer."""
    entry = [issuer.settings()]
    demanding = Settings.model_validate(
        {**settings.model_dump(), "oidc_issuers": entry, "quota_administration": 0}
    )
    async with served(create_app(demanding)) as http:
        yield http


async def described(closed: httpx2.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    found = list(operations((await closed.get("/openapi.json")).json()))
    assert len(found) > 40
    return found


async def test_every_route_is_closed_to_who_shows_no_token(closed: httpx2.AsyncClient) -> None:
    for method, path, operation in await described(closed):
        answer = await closed.request(method, path, content=b"{ not read")
        refused(answer, 401, "unauthenticated")
        assert operation["security"] == [{"token": []}], path


async def test_what_is_not_there_is_closed_too(closed: httpx2.AsyncClient) -> None:
    for path in (
        "/api/v9/orders",
        "/admin",
        "/auth",
        "/metrics/",
        "/healthy",
        "/Swagger",
        "/static",
    ):
        refused(await closed.get(path), 401, "unauthenticated")


async def test_pages_and_probes_are_open(closed: httpx2.AsyncClient) -> None:
    for path in ("/", "/swagger", "/openapi.json", "/health/live", "/health/ready", "/metrics"):
        assert (await closed.get(path)).status_code == 200, path


@pytest.mark.parametrize("role", [None, *Role], ids=str)
async def test_every_route_is_closed_to_roles_that_it_does_not_list(
    closed: httpx2.AsyncClient, issuer: LocalIssuer, role: Role | None
) -> None:
    """And open to those that it does: they hear what is wrong with an empty request."""
    roles = [role] if role else ["emperor"]
    headers = issuer.bearer(roles=roles, sub="somebody", customer_id=f"c-{uuid4().hex}")
    for method, path, operation in await described(closed):
        answer = await closed.request(method, path, headers=headers)
        if role in operation["x-roles"]:
            assert answer.status_code not in (401, 403), f"{method} {path}: {answer.text}"
            assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        else:
            refused(answer, 403, "insufficient-role")
            assert all(each in answer.json()["detail"] for each in operation["x-roles"])


async def test_who_is_no_customer_is_asked_for_whom_to_act(
    closed: httpx2.AsyncClient, issuer: LocalIssuer
) -> None:
    """Instead of acting for nobody, which no document has a place for."""
    headers = {**issuer.bearer(), "Idempotency-Key": uuid4().hex}
    item = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
    for answer in (
        await closed.get("/api/v1/wallet", headers=headers),
        await closed.get("/api/v1/wallet/transactions", headers=headers),
        await closed.get("/api/v1/points", headers=headers),
        await closed.post(
            "/api/v1/orders", json={"currency": "KRW", "items": [item]}, headers=headers
        ),
        await closed.post(
            "/api/v1/wallet/top-ups", json={"amount": 1, "currency": "KRW"}, headers=headers
        ),
    ):
        refused(answer, 400, "invalid-request")
        assert "customerId" in answer.json()["detail"]


@pytest.mark.parametrize("shown", ["token", "key"])
async def test_every_route_knows_nothing_of_another_customer(
    billing: Billing,
    settlements: None,
    closed: httpx2.AsyncClient,
    issuer: LocalIssuer,
    shown: str,
) -> None:
    """Whatever of a customer a path, a query or a body can name, named by a stranger."""
    document = (await closed.get("/openapi.json")).json()
    foreign = await things_of(billing)
    code = await billing.put_coupon()
    before = await rows_of(billing.database, billing.customer_id)
    if shown == "token":
        stranger = issuer.bearer(roles=["customer"], sub="mallory", customer_id=f"c-{uuid4().hex}")
    else:
        stranger = await key_of_another(billing)
    asked = 0

    for method, path, operation in operations(document):
        call = f"{method} {path}"
        if Role.CUSTOMER not in operation["x-roles"] or call in OF_NOBODY:
            continue
        in_path, elsewhere = names_in(path, operation, document)
        said = {name: foreign[name] for name in elsewhere & foreign.keys()}
        assert said or in_path & foreign.keys(), f"{call} names nothing of a customer"
        answer = await closed.request(
            method,
            path.format_map({**foreign, "code": code}),
            params=said if method == "GET" else None,
            json=None if method == "GET" else {**BODIES.get(path, {}), **said},
            headers={**stranger, "Idempotency-Key": uuid4().hex},
        )
        refused(answer, 404, "not-found")
        asked += 1

    assert asked >= 14
    assert await rows_of(billing.database, billing.customer_id) == before


async def key_of_another(billing: Billing) -> dict[str, str]:
    """What somebody sends who has the key of a customer that has nothing."""
    name = f"c-{uuid4().hex}"
    assert (await billing.api.put(f"/api/v1/customers/{name}")).status_code == 201
    wish = {"name": "mallory", "role": "customer", "customerId": name}
    made = await billing.api.post("/api/v1/keys", json=wish)
    return {"Authorization": f"Bearer {made.json()['key']}"}
