"""Keycloak's tokens at our own API: `make test-oidc`, which nothing else runs.

Its profile is the one that has to guess most: `typ` is JWT, a person's token names no `client_id`,
and neither audience nor roles nor subject are there unless somebody has asked for them.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.app import create_app
from dev.stack import Stack
from runtime.settings import Settings
from tests.api.documents import refused
from tests.conftest import served
from tests.support import keycloak
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.device_login import logged_in_and_out
from tests.support.keycloak import ELSEWHERE, PROGRAM, SECRET, SERVICE, Realm

# The first test waits for a download and for a start as well, for as long as they get on.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with keycloak.keycloak() as running:
        yield running


@pytest.fixture
async def realm(url: str) -> AsyncIterator[Realm]:
    async with keycloak.realm(url) as made:
        yield made


def believing(
    realm: Realm, settings: Settings, **more: Any
) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    """The API of an installation that knows this realm."""
    entry = realm.settings(**more)
    return served(
        create_app(Settings.model_validate({**settings.model_dump(), "oidc_issuers": [entry]}))
    )


async def check(http: httpx2.AsyncClient, token: str, action: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await http.post("/auth/check", json={"action": action}, headers=headers)


async def test_a_service_account_pays_an_order_under_the_name_of_its_client(
    realm: Realm, settings: Settings, billing: Billing
) -> None:
    token = await realm.of_service()
    async with believing(realm, settings) as http:
        verdict = (await check(http, token, "orders.create")).json()
        http.headers["Authorization"] = f"Bearer {token}"
        shop = replace(billing, api=http)
        order = await shop.order_of("SKU-1", 1000, customerId=billing.customer_id)
        paid = await shop.pay(order["id"])

    assert verdict["caller"] == f"staff/client/{SERVICE}"
    assert (verdict["roles"], verdict["allowed"]) == (["service"], True)
    assert paid["status"] == "COMPLETED"


async def test_a_person_meets_the_things_of_their_customer_only(
    realm: Realm, settings: Settings, billing: Billing
) -> None:
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    theirs, mine = await other.order(), await billing.order()
    sub = await realm.add_person("alice", "customer", customer_id=billing.customer_id)
    token = (await realm.of_person("alice"))["access_token"]
    async with believing(realm, settings) as http:
        verdict = (await check(http, token, "orders.read")).json()
        http.headers["Authorization"] = f"Bearer {token}"
        foreign = await http.get(f"/api/v1/orders/{theirs}")
        own = await http.get(f"/api/v1/orders/{mine}")

    assert (verdict["caller"], verdict["roles"]) == (f"staff/{sub}", ["customer"])
    assert verdict["customerId"] == billing.customer_id
    assert own.status_code == 200, own.text
    refused(foreign, 404, "not-found")


async def test_tokens_for_others_and_for_other_uses_open_nothing(
    realm: Realm, settings: Settings, billing: Billing
) -> None:
    """One without our audience, one that tells a program who has logged in, one that renews."""
    await realm.add_person("alice", "customer", customer_id=billing.customer_id)
    granted = await realm.of_person("alice")
    elsewhere = await realm.of_service(ELSEWHERE)
    async with believing(realm, settings) as http:
        good = await check(http, granted["access_token"], "orders.read")
        answers = {
            "invalid claim: 'aud'": await check(http, elsewhere, "orders.read"),
            "it is no access token": await check(http, granted["id_token"], "orders.read"),
            "its algorithm is not accepted": await check(
                http, granted["refresh_token"], "orders.read"
            ),
        }

    assert good.json()["allowed"] is True
    for why, answer in answers.items():
        refused(answer, 401, "unauthenticated")
        assert why in answer.json()["detail"]


async def test_after_a_rotation_of_keys_new_tokens_are_believed_and_old_ones_until_they_end(
    realm: Realm, settings: Settings
) -> None:
    lives = {"access.token.lifespan": "5"}
    await realm.add_service("brief", ["basic", "roles", "billing"], attributes=lives)
    # With no leeway, so that its end need not be waited for.
    async with believing(realm, settings, leeway_seconds=0) as http:

        async def believed(token: str) -> bool:
            return (await check(http, token, "orders.create")).status_code == 200

        shown, old = await realm.of_service(), await realm.of_service()
        assert await believed(shown)
        brief = await realm.of_service("brief")
        await realm.rotate_keys()
        new = await realm.of_service()
        assert key_of(new) != key_of(old) == key_of(brief)

        # Its key is asked for when a token first names it, at most once in 30 s.
        await eventually(lambda: believed(new))
        assert await believed(old), "shown for the first time: its key is still among the issuer's"

        async def ended() -> bool:
            answer = await check(http, brief, "orders.create")
            return answer.status_code == 401 and "expired" in answer.json()["detail"]

        await eventually(ended)
        assert await believed(old)


async def test_a_person_logs_in_and_out_at_keycloak_s_own_pages(
    realm: Realm, stack: Stack, tmp_path: Path
) -> None:
    sub = await realm.add_person("alice", "service")
    words = ("--client-id", PROGRAM)
    person = {"username": "alice", "password": SECRET}
    told = await logged_in_and_out(stack, tmp_path, realm.settings(), words, person)

    assert f"You are staff/{sub}: service." in told.login
    assert (told.logout, told.statuses) == ("Logged out.\n", (0, 0))


def key_of(token: str) -> str:
    """The name of the key that signed it."""
    return str(json.loads(urlsafe_b64decode(token.split(".")[0] + "=="))["kid"])
