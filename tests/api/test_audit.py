"""Who did what, over HTTP: each entry with its actor, its source and what was changed."""

from typing import Any

import httpx2
import pytest

from api.app import create_app
from domain.access import SYSTEM
from runtime.settings import Settings
from store import audit
from store.database import Database
from tests.api.documents import refused
from tests.conftest import served
from tests.support.audit import an_entry, trail
from tests.support.billing import GOOD_CARD, Billing
from tests.support.databases import may_idle

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {
    "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    "User-Agent": "a console/1.0",
    "X-Request-Id": "request-1",
}


async def found(api: httpx2.AsyncClient, **query: str | int) -> dict[str, Any]:
    answer = await api.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def actions(billing: Billing, **query: str | int) -> list[str]:
    page = await found(billing.api, customerId=billing.customer_id, **query)
    return [each["action"] for each in page["items"]]


async def test_a_change_is_noted_with_who_from_where_and_what_it_was(billing: Billing) -> None:
    path = f"/api/v1/customers/{billing.customer_id}"
    for body in ({"dueDays": 30, "prepaid": False}, {"dueDays": 30}):
        answer = await billing.api.put(path, json=body, headers=HEADERS)
        assert answer.status_code == 200, answer.text

    page = await found(billing.api, targetId=billing.customer_id, action="CUSTOMER_CHANGED")

    [entry] = page["items"]
    assert entry["before"] == {"dueDays": 14}
    assert entry["after"] == {"dueDays": 30}
    assert (entry["actorType"], entry["actorId"]) == ("OPERATOR", "dev/demo")
    assert (entry["userAgent"], entry["ip"]) == ("a console/1.0", "127.0.0.1")
    assert (entry["traceId"], entry["requestId"]) == (TRACE, "request-1")
    assert (entry["targetType"], entry["customerId"]) == ("customer", billing.customer_id)
    by_trace = await found(billing.api, traceId=TRACE, customerId=billing.customer_id)
    assert [each["id"] for each in by_trace["items"]] == [entry["id"]]


async def test_the_address_is_what_our_own_proxy_saw_and_not_what_a_caller_says(
    billing: Billing, settings: Settings
) -> None:
    """That of the API here believes no proxy, that of its own does."""
    path, forged = f"/api/v1/customers/{billing.customer_id}", "198.51.100.9, 203.0.113.5"
    headers = {"X-Forwarded-For": forged}
    proxied = {**settings.model_dump(exclude_unset=True), "trusted_proxies": ["127.0.0.0/8"]}
    async with served(create_app(Settings.model_validate(proxied))) as behind:
        for days, http in ((20, billing.api), (21, behind)):
            answer = await http.put(path, json={"dueDays": days}, headers=headers)
            assert answer.status_code == 200, answer.text

    page = await found(billing.api, targetId=billing.customer_id, action="CUSTOMER_CHANGED")

    assert [each["ip"] for each in page["items"]] == ["203.0.113.5", "127.0.0.1"]


async def test_a_payment_is_noted_with_its_order_once_for_all_repeats(billing: Billing) -> None:
    order_id = await billing.order(3_000)
    body = {"orderId": order_id, "method": "CARD"}
    paid = [await billing.post("/api/v1/payments", body, "the-key") for _ in range(3)]
    assert {answer.status_code for answer in paid} == {201}

    page = await found(billing.api, customerId=billing.customer_id, targetType="payment")

    [entry] = page["items"]
    assert entry["action"] == "PAYMENT_CREATED"
    assert entry["actorId"] == f"dev/{billing.customer_id}"
    assert entry["targetId"] == paid[0].json()["id"]
    assert entry["after"]["payableId"] == order_id
    assert entry["after"]["cardAmount"] == 3_000


async def test_nothing_of_a_card_is_in_the_trail(billing: Billing) -> None:
    await billing.pay(await billing.order(3_000))

    page = await found(billing.api, customerId=billing.customer_id, limit=200)

    assert "PAYMENT_METHOD_ADDED" in [each["action"] for each in page["items"]]
    for secret in (GOOD_CARD, GOOD_CARD[-4:], "bk_"):
        assert secret not in str([each["after"] for each in page["items"]])


async def test_what_an_operator_looks_at_is_noted_once_in_ten_minutes(billing: Billing) -> None:
    order_id = await billing.order(3_000)
    paid = await billing.pay(order_id)
    for _ in range(3):
        await billing.get(f"/api/v1/payments/{paid['id']}")
        await billing.get(f"/api/v1/customers/{billing.customer_id}")

    page = await found(billing.api, customerId=billing.customer_id, action="DATA_VIEWED")

    looks = [(each["targetType"], each["targetId"]) for each in page["items"]]
    assert looks.count(("payment", paid["id"])) == 1
    assert looks.count(("customer", billing.customer_id)) == 1
    assert {each["actorId"] for each in page["items"]} == {"dev/demo"}


async def test_who_looks_at_its_own_is_not_noted(billing: Billing) -> None:
    path = f"/api/v1/customers/{billing.customer_id}"

    answer = await billing.api.get(path, headers={"X-Customer-Id": billing.customer_id})

    assert answer.status_code == 200
    assert "DATA_VIEWED" not in await actions(billing)


async def test_pages_miss_nothing_that_commits_late(billing: Billing, database: Database) -> None:
    about = billing.customer_id
    async with database.begin(SYSTEM) as late:
        await may_idle(late)
        for number in range(4):
            async with database.begin(SYSTEM) as tx:
                await audit.append(tx, an_entry("x", customer_id=about, reason=str(number)))
            if number == 1:
                await audit.append(late, an_entry("x", customer_id=about, reason="late"))
        first = await found(billing.api, customerId=about, targetId="x", limit=3)
    rest = await found(
        billing.api, customerId=about, targetId="x", limit=3, cursor=first["nextCursor"]
    )

    reasons = [each["reason"] for page in (first, rest) for each in page["items"]]
    assert reasons == ["3", "2", "1", "late", "0"]
    assert (rest["nextCursor"], rest["hasMore"]) == (None, False)


@pytest.mark.parametrize(
    "query",
    ["action=NOTHING", "targetType=moon", "limit=0", "limit=201", "from=yesterday", "cursor=x"],
)
async def test_what_cannot_be_meant_is_refused(billing: Billing, query: str) -> None:
    refused(await billing.api.get(f"/api/v1/audit?{query}"), 400, "invalid-request")


async def test_entries_are_found_by_their_time(billing: Billing, database: Database) -> None:
    [entry] = await trail(database, target_id=billing.customer_id, action="CUSTOMER_CREATED")
    at = entry.at.isoformat()

    assert await actions(billing, **{"from": at})
    assert await actions(billing, to=at) == []


async def test_an_odd_source_is_no_mistake_of_the_caller(billing: Billing) -> None:
    odd = {"User-Agent": "x" * 3_000, "X-Request-Id": "y" * 300, "traceparent": "nonsense"}
    path = f"/api/v1/customers/{billing.customer_id}"

    answer = await billing.api.put(path, json={"dueDays": 3}, headers=odd)

    assert answer.status_code == 200, answer.text
    page = await found(billing.api, targetId=billing.customer_id, action="CUSTOMER_CHANGED")
    [entry] = page["items"]
    assert entry["userAgent"] == "x" * 500
    assert (entry["requestId"], entry["traceId"]) == (None, None)
