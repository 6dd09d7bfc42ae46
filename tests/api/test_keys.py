"""API keys over HTTP: what their holder may do, and how operators look after them."""

import asyncio
import re
from typing import Any

import pytest
from sqlalchemy import text

from api.app import create_app
from domain.access import SYSTEM
from domain.api_key import KEY, Mode, text_of
from runtime.settings import Settings
from store.database import Database
from tests.api.documents import closed_port, refused
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.databases import may_idle
from tests.support.issuer import local_issuer
from tests.support.samples import new_id


async def key_of(billing: Billing, **wish: Any) -> dict[str, Any]:
    body = {"name": "test", "role": "service", **wish}
    answer = await billing.api.post("/api/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearing(made: dict[str, Any], **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['key']}", **more}


async def test_a_key_is_shown_once(billing: Billing) -> None:
    answer = await billing.api.post("/api/v1/keys", json={"name": "metering", "role": "service"})
    made = answer.json()

    assert KEY.fullmatch(made["key"])
    assert answer.headers["Cache-Control"] == "no-store"
    listed = await billing.api.get("/api/v1/keys", params={"size": 200})
    assert made["key"] not in listed.text
    assert not re.search(r"dbk_(live|test)_", listed.text)


async def test_a_customer_sees_its_own_things_with_its_key_and_no_others(
    billing: Billing,
) -> None:
    made = await key_of(billing, role="customer", customerId=billing.customer_id)
    path = "/api/v1/customers/"

    mine = await billing.api.get(path + billing.customer_id, headers=bearing(made))
    theirs = await billing.api.get(path + "demo", headers=bearing(made))
    named = await billing.api.get(path + "demo", headers=bearing(made, **{"X-Customer-Id": "demo"}))
    keys = await billing.api.get("/api/v1/keys", headers=bearing(made))

    assert mine.json()["id"] == billing.customer_id
    refused(theirs, 404, "not-found")
    refused(named, 404, "not-found")
    assert keys.status_code in (403, 404)


async def test_a_key_with_scopes_is_good_for_nothing_else(billing: Billing) -> None:
    made = await key_of(billing, scopes=["billing.usage", "billing.read"])
    order = {"currency": "KRW", "items": [{"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}]}
    headers = bearing(made, **{"Idempotency-Key": new_id()})

    reads = await billing.api.get("/api/v1/rankings", headers=headers)
    orders = await billing.api.post("/api/v1/orders", json=order, headers=headers)

    assert reads.status_code == 200
    refused(orders, 403, "insufficient-scope")
    assert 'scope="billing.payments"' in orders.headers["WWW-Authenticate"]
    assert made["details"]["scopes"] == ["billing.read", "billing.usage"]


async def test_where_tokens_are_demanded_keys_are_taken_too_and_never_both(
    billing: Billing, settings: Settings
) -> None:
    made = bearing(await key_of(billing))["Authorization"]
    async with local_issuer() as issuer:
        entry = {"oidc_issuers": [issuer.settings()]}
        told = Settings.model_validate({**settings.model_dump(exclude_unset=True), **entry})
        async with served(create_app(told)) as http:
            token = issuer.bearer()["Authorization"]
            for sent, status in (([made], 200), ([token], 200), ([made, token], 401), ([], 401)):
                headers = [("Authorization", each) for each in sent]
                answer = await http.get("/api/v1/rankings", headers=headers)
                assert answer.status_code == status, sent


async def test_without_the_database_nobody_says_that_a_key_is_wrong(
    billing: Billing, settings: Settings
) -> None:
    made, away = await key_of(billing), f"postgresql://a@127.0.0.1:{closed_port()}/billing"
    told = {**settings.model_dump(exclude_unset=True), "database_url": away}
    async with served(create_app(Settings.model_validate(told))) as http:
        answer = await http.get("/api/v1/rankings", headers=bearing(made))

    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "5"


async def test_whoever_makes_keys_up_takes_no_connection_from_those_who_work(
    billing: Billing, settings: Settings, owner: Database
) -> None:
    """Thirty of them have the right check, and nobody can look them up as long as the table is
    locked; a process has fewer connections."""
    made_up = [text_of(Mode.TEST, f"madeup{each:02}", "x" * 32) for each in range(30)]

    async def guess(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return (await billing.api.get("/api/v1/wallet", headers=headers)).status_code

    async with owner.begin(SYSTEM) as tx:
        await may_idle(tx)
        await tx.execute(text("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE"))
        guesses = [asyncio.create_task(guess(each)) for each in made_up]
        order_id = await billing.order()
        assert not [each for each in guesses if each.done() and each.result() == 401]
        await billing.pay(order_id)

    assert set(await asyncio.gather(*guesses)) <= {401, 503}


async def test_a_rotated_key_repeats_what_the_old_one_has_asked_for(billing: Billing) -> None:
    old = await key_of(billing)
    again = await billing.api.post(
        f"/api/v1/keys/{old['details']['id']}/rotate", json={"overlapDays": 1}
    )
    new = again.json()
    order = {
        "currency": "KRW",
        "customerId": billing.customer_id,
        "items": [{"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}],
    }
    key = {"Idempotency-Key": new_id()}

    first = await billing.api.post("/api/v1/orders", json=order, headers=bearing(old, **key))
    second = await billing.api.post("/api/v1/orders", json=order, headers=bearing(new, **key))

    assert first.status_code == 201
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.content == first.content
    assert new["details"]["caller"] == old["details"]["caller"]
    assert new["details"]["expiresAt"] is None


async def test_a_key_that_was_revoked_before_it_was_used_is_not_believed(
    billing: Billing,
) -> None:
    made = await key_of(billing)
    revoked = await billing.api.post(f"/api/v1/keys/{made['details']['id']}/revoke", json={})

    refused(
        await billing.api.get("/api/v1/rankings", headers=bearing(made)), 401, "unauthenticated"
    )
    assert revoked.json()["revokedAt"] is not None


async def test_a_key_from_the_wrong_network_is_not_believed(billing: Billing) -> None:
    here = await key_of(billing, allowedNetworks=["127.0.0.0/8"])
    there = await key_of(billing, allowedNetworks=["203.0.113.0/24"])

    async def ask(made: dict[str, Any]) -> int:
        forged = bearing(made, **{"X-Forwarded-For": "203.0.113.5"})
        return (await billing.api.get("/api/v1/rankings", headers=forged)).status_code

    assert (await ask(here), await ask(there)) == (200, 401)


@pytest.mark.parametrize("key", ["dbk_", "dbk_live_x", "dbk_test_abcdefgh_" + "x" * 38])
async def test_what_only_begins_like_a_key_is_none(billing: Billing, key: str) -> None:
    headers = {"Authorization": f"bearer {key}"}
    refused(await billing.api.get("/api/v1/rankings", headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"name": " "}, 400),
        ({"role": "operator"}, 400),
        ({"role": "customer"}, 400),
        ({"role": "service", "customerId": "demo"}, 400),
        ({"role": "customer", "customerId": "nobody-of-that-name"}, 404),
        ({"allowedNetworks": ["everywhere"]}, 400),
        ({"allowedNetworks": ["10.0.0.1/8"]}, 400),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, 400),
        ({"secret": "mine"}, 400),
    ],
    ids=str,
)
async def test_a_wish_that_makes_no_sense_makes_no_key(
    billing: Billing, wish: dict[str, Any], status: int
) -> None:
    body = {"name": "test", "role": "service", **wish}
    assert (await billing.api.post("/api/v1/keys", json=body)).status_code == status


async def test_keys_of_a_customer_are_listed_by_pages(billing: Billing) -> None:
    wish = {"role": "customer", "customerId": billing.customer_id}
    made = await asyncio.gather(*(key_of(billing, **wish) for _ in range(3)))
    seen: list[str] = []
    query: dict[str, Any] = {"customerId": billing.customer_id, "size": 2}
    while True:
        page = (await billing.api.get("/api/v1/keys", params=query)).json()
        seen += [each["id"] for each in page["keys"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]

    assert sorted(seen) == sorted(each["details"]["id"] for each in made)
    refused(await billing.api.post("/api/v1/keys/nobody00/revoke", json={}), 404, "not-found")
