"""One request, one effect: however often, however long after, and whatever is down."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis
from temporalio.client import Client

from api.app import create_app
from domain.access import SYSTEM
from runtime.settings import Settings
from store import idempotency
from store.database import Database
from tests.api.documents import closed_port, refused, rows_of, silent_port
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually, patience
from tests.support.unfinished import accepted, payment_in_review, without_temporal

ITEM = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
ORDER = {"currency": "KRW", "items": [ITEM]}
GOOD: dict[str, dict[str, Any]] = {
    "orders": ORDER,
    "payments": {"orderId": "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11", "method": "CARD"},
    "refunds": {"paymentId": "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11", "reason": "test"},
    "wallet/top-ups": {"amount": 1000, "currency": "KRW"},
}


@pytest.fixture
async def valkey(settings: Settings) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(settings.redis_url)
    yield client
    await client.aclose()


async def forget_answers(database: Database, valkey: Redis) -> None:
    """25 hours later: every stored body is purged, and the cache has forgotten them too."""
    async with database.begin(SYSTEM) as tx:
        await idempotency.purge_bodies(tx, datetime.now(UTC) + timedelta(hours=25))
    await valkey.flushall()


def replayed(answer: httpx2.Response, first: httpx2.Response) -> None:
    """Byte for byte the first answer, and marked as a repeat."""
    assert (answer.status_code, answer.content) == (first.status_code, first.content)
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_fifty_copies_of_a_payment_at_once_charge_the_card_once(billing: Billing) -> None:
    body = {"orderId": await billing.order(3000), "method": "CARD"}
    key = uuid4().hex

    answers = await asyncio.gather(
        *(billing.post("/api/v1/payments", body, key) for _ in range(50))
    )

    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 409}, statuses
    paid = {answer.content for answer in answers if answer.status_code == 201}
    assert len(paid) == 1, "everybody who got an answer got the same one"
    payment = json.loads(paid.pop())
    assert payment["status"] == "COMPLETED"
    for answer in answers:
        if answer.status_code == 409:
            refused(answer, 409, "request-in-progress")
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["Location"] == f"/api/v1/payments/{payment['id']}"
    book = await billing.book(payment["id"])
    assert [each["capturedAmount"] for each in book["payments"]] == [3000]
    rows = await rows_of(billing.database, billing.customer_id)
    assert (rows["orders"], rows["payments"]) == (1, 1)


async def test_fifty_keys_at_once_for_one_order_charge_the_card_once(billing: Billing) -> None:
    body = {"orderId": await billing.order(3000), "method": "CARD"}

    answers = await asyncio.gather(*(billing.post("/api/v1/payments", body) for _ in range(50)))

    [paid] = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer is not paid:
            refused(answer, 409, "order-not-payable")
    assert (await billing.book(paid.json()["id"]))["totals"]["KRW"]["captured"] == 3000
    rows = await rows_of(billing.database, billing.customer_id)
    assert (rows["payments"], rows["idempotency_keys"]) == (1, 2)


@pytest.mark.parametrize("key", [None, "", '""', "x" * 256, "schlüssel", "two words", "tab\there"])
async def test_without_a_proper_key_nothing_is_done(billing: Billing, key: str | None) -> None:
    headers = {"X-Customer-Id": billing.customer_id}
    if key is not None:
        headers["Idempotency-Key"] = key
    encoded = httpx2.Headers(
        {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}
    )
    before = await rows_of(billing.database, billing.customer_id)

    for path, body in GOOD.items():
        answer = await billing.api.post(f"/api/v1/{path}", json=body, headers=encoded)
        refused(answer, 400, "idempotency-key-missing")

    assert await rows_of(billing.database, billing.customer_id) == before


async def test_the_longest_key_is_a_key(billing: Billing) -> None:
    assert (await billing.post("/api/v1/orders", ORDER, "~" * 255)).status_code == 201
    assert (await billing.post("/api/v1/orders", ORDER, f'"{"!" * 255}"')).status_code == 201


async def test_a_key_in_quotes_is_the_same_key(billing: Billing) -> None:
    key = uuid4().hex

    first = await billing.post("/api/v1/orders", ORDER, key)
    quoted = await billing.post("/api/v1/orders", ORDER, f'"{key}"')

    replayed(quoted, first)


async def test_spelling_does_not_make_another_request_but_a_value_does(billing: Billing) -> None:
    headers = {
        "Idempotency-Key": uuid4().hex,
        "X-Customer-Id": billing.customer_id,
        "Content-Type": "application/json",
    }

    async def post(content: str) -> httpx2.Response:
        return await billing.api.post("/api/v1/orders", content=content, headers=headers)

    line = '{"sku":"SKU-1","quantity":1,"unitPrice":1000}'
    first = await post(f'{{"currency":"KRW","items":[{line}]}}')
    assert first.status_code == 201

    replayed(await post(f'\n{{ "currency" : "KRW" ,\r\n\t"items" : [ {line} ] }} '), first)
    replayed(await post(f'{{"items":[{line}],"currency":"KRW"}}'), first)
    replayed(await post(f'{{"currency":"\\u004bRW","items":[{line}]}}'), first)
    for other in (
        f'{{"currency":"USD","items":[{line}]}}',
        f'{{"currency":"KRW","items":[{line},{line}]}}',
        f'{{"currency":"KRW","items":[{line}],"customerId":"{billing.customer_id}"}}',
    ):
        refused(await post(other), 422, "idempotency-key-reused")
    assert (await rows_of(billing.database, billing.customer_id))["orders"] == 1


async def test_a_reused_key_is_noticed_without_the_cache_too(
    billing: Billing, valkey: Redis
) -> None:
    key = uuid4().hex
    first = await billing.post("/api/v1/orders", ORDER, key)
    await valkey.flushall()

    other = await billing.post("/api/v1/orders", {**ORDER, "currency": "USD"}, key)
    same = await billing.post("/api/v1/orders", ORDER, key)

    refused(other, 422, "idempotency-key-reused")
    replayed(same, first)


async def test_a_refused_request_leaves_its_key_free(billing: Billing) -> None:
    """The claim and what it claims are one transaction: refused, neither is there."""
    order_id, key = await billing.order(1000), uuid4().hex
    too_much = {"orderId": order_id, "method": "SPLIT", "walletAmount": 1001}
    before = await rows_of(billing.database, billing.customer_id)

    refused(await billing.post("/api/v1/payments", too_much, key), 422, "wallet-amount-too-large")
    assert await rows_of(billing.database, billing.customer_id) == before
    good = await billing.post("/api/v1/payments", {"orderId": order_id, "method": "CARD"}, key)

    assert (good.status_code, good.json()["status"]) == (201, "COMPLETED")


async def test_a_decline_is_an_answer_and_stays_one(billing: Billing) -> None:
    """The card is good by now; the old key still stands for the old, declined attempt."""
    await billing.add_card("4000000000000002")
    body = {"orderId": await billing.order(), "method": "CARD"}
    key = uuid4().hex
    first = await billing.post("/api/v1/payments", body, key)
    assert (first.status_code, first.json()["status"]) == (201, "FAILED")

    await billing.add_card("4242424242424242")

    replayed(await billing.post("/api/v1/payments", body, key), first)
    again = await billing.post("/api/v1/payments", body)
    assert again.json()["status"] == "COMPLETED"


async def test_who_saw_a_202_gets_the_final_answer_byte_for_byte(
    billing: Billing, settings: Settings
) -> None:
    """While Temporal is away it is a 202, then a 409; later it is what really happened."""
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    key = uuid4().hex

    async with without_temporal(billing, settings) as cut_off:
        pending = await cut_off.post("/api/v1/payments", body, key)
        waiting = await cut_off.post("/api/v1/payments", body, key)

    assert (pending.status_code, pending.json()["status"]) == (202, "PENDING")
    refused(waiting, 409, "request-in-progress")
    assert int(waiting.headers["Retry-After"]) > 0
    assert waiting.headers["Location"] == pending.headers["Location"]
    final = await billing.post("/api/v1/payments", body, key)
    again = await billing.post("/api/v1/payments", body, key)
    assert (final.status_code, final.json()["status"]) == (201, "COMPLETED")
    assert final.json()["id"] == pending.json()["id"]
    assert (again.status_code, again.content) == (201, final.content)
    for answer in (final, again):
        assert answer.headers["Idempotency-Replayed"] == "true"
    seen = await billing.get(pending.headers["Location"])
    assert seen == final.json()


async def test_a_slow_payment_is_answered_202_and_read_later(
    billing: Billing, settings: Settings
) -> None:
    """The PG needs 200 s (here: 1 s) and the API's patience (here: 10 ms) is shorter."""
    await billing.add_card("4000000000011009")
    slow = {"behaviour": "slow", "billingKey": "bk_4000000000011009", "seconds": 200}
    queued = await billing.simulator.post("/control/behaviours", json=slow)
    assert queued.status_code == 201, queued.text
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    key = uuid4().hex

    async with served(create_app(settings.model_copy(update={"api_wait_seconds": 0.01}))) as http:
        first = await replace(billing, api=http).post("/api/v1/payments", body, key)
    final = await billing.post("/api/v1/payments", body, key)

    assert first.status_code == 202
    assert (final.status_code, final.json()["status"]) == (201, "COMPLETED")
    assert final.headers["Idempotency-Replayed"] == "true"


async def test_25_hours_later_an_order_is_not_made_again(billing: Billing, valkey: Redis) -> None:
    key = uuid4().hex
    first = await billing.post("/api/v1/orders", ORDER, key)
    before = await rows_of(billing.database, billing.customer_id)

    await forget_answers(billing.database, valkey)

    replayed(await billing.post("/api/v1/orders", ORDER, key), first)
    assert await rows_of(billing.database, billing.customer_id) == before


async def test_25_hours_later_a_payment_is_not_taken_again(billing: Billing, valkey: Redis) -> None:
    body = {"orderId": await billing.order(3000), "method": "CARD"}
    key = uuid4().hex
    first = await billing.post("/api/v1/payments", body, key)
    before = await rows_of(billing.database, billing.customer_id)

    await forget_answers(billing.database, valkey)

    replayed(await billing.post("/api/v1/payments", body, key), first)
    other = await billing.post("/api/v1/payments", {**body, "method": "WALLET"}, key)
    refused(other, 422, "idempotency-key-reused")
    assert await rows_of(billing.database, billing.customer_id) == before
    book = await billing.book(first.json()["id"])
    assert [each["capturedAmount"] for each in book["payments"]] == [3000]


async def test_25_hours_later_a_refund_is_not_given_again(billing: Billing, valkey: Redis) -> None:
    paid = await billing.pay(await billing.order(3000))
    body = {"paymentId": paid["id"], "amount": 1000, "reason": "one of three"}
    key = uuid4().hex
    first = await billing.post("/api/v1/refunds", body, key)
    before = await rows_of(billing.database, billing.customer_id)

    await forget_answers(billing.database, valkey)

    replayed(await billing.post("/api/v1/refunds", body, key), first)
    assert await rows_of(billing.database, billing.customer_id) == before
    totals = (await billing.book(paid["id"]))["totals"]["KRW"]
    assert totals == {"captured": 3000, "refunded": 1000}


@pytest.mark.parametrize("source", ["CARD", "BANK_TRANSFER"])
async def test_25_hours_later_a_top_up_is_not_booked_again(
    billing: Billing, valkey: Redis, source: str
) -> None:
    body = {"amount": 5000, "currency": "KRW", "source": source}
    key = uuid4().hex
    first = await billing.post("/api/v1/wallet/top-ups", body, key)
    assert first.json()["status"] == "COMPLETED"
    before = await rows_of(billing.database, billing.customer_id)

    await forget_answers(billing.database, valkey)

    replayed(await billing.post("/api/v1/wallet/top-ups", body, key), first)
    assert await rows_of(billing.database, billing.customer_id) == before
    assert await billing.balance() == (5000, 0)


async def test_an_answer_rebuilt_later_is_of_the_same_thing(
    billing: Billing, valkey: Redis
) -> None:
    """The body has expired and the order was paid since: the repeat shows it as it is now."""
    key = uuid4().hex
    first = await billing.post("/api/v1/orders", ORDER, key)
    paid = await billing.pay(first.json()["id"])
    assert paid["status"] == "COMPLETED"
    replayed(await billing.post("/api/v1/orders", ORDER, key), first)

    await forget_answers(billing.database, valkey)

    rebuilt = await billing.post("/api/v1/orders", ORDER, key)
    assert (rebuilt.status_code, rebuilt.json()["id"]) == (201, first.json()["id"])
    assert rebuilt.json()["status"] == "COMPLETED"


async def test_repeats_are_answered_while_valkey_is_down(
    billing: Billing, settings: Settings
) -> None:
    """Refusing connections, or taking them and staying silent: neither changes an answer."""
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    key = uuid4().hex
    first = await billing.post("/api/v1/payments", body, key)

    with silent_port() as silent:
        for port in (closed_port(), silent):
            without = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
            async with served(create_app(without)) as http, patience():
                lone = replace(billing, api=http)
                replayed(await lone.post("/api/v1/payments", body, key), first)
                other = await lone.post("/api/v1/payments", {**body, "method": "WALLET"}, key)
                refused(other, 422, "idempotency-key-reused")
                fresh = await lone.post("/api/v1/orders", ORDER)
                assert fresh.status_code == 201

    assert (await billing.book(first.json()["id"]))["totals"]["KRW"]["captured"] == 2000


async def test_repeats_are_answered_after_valkey_was_flushed(
    billing: Billing, valkey: Redis
) -> None:
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    key = uuid4().hex
    first = await billing.post("/api/v1/payments", body, key)

    await valkey.flushall()

    replayed(await billing.post("/api/v1/payments", body, key), first)
    replayed(await billing.post("/api/v1/payments", body, key), first)


async def test_rubbish_in_the_cache_is_a_miss(billing: Billing, valkey: Redis) -> None:
    """Somebody else writes to the same Valkey: the answer comes from the database."""
    await valkey.flushall()

    async def kept() -> tuple[str, httpx2.Response, bytes | str] | None:
        """A key, its answer and its name in the cache, which may be too busy to keep it."""
        key = uuid4().hex
        answer = await billing.post("/api/v1/orders", ORDER, key)
        names = await valkey.keys("replay:*")
        return (key, answer, names[0]) if names else None

    found = await eventually(kept)
    assert found is not None
    key, first, name = found

    for rubbish in (b"\xff\x00", b"", b"{}", b"[1]", b'["", "x", 3]', b"null"):
        await valkey.set(name, rubbish)
        replayed(await billing.post("/api/v1/orders", ORDER, key), first)

    await valkey.delete(name)
    await valkey.rpush(name, "a list where a string should be")
    replayed(await billing.post("/api/v1/orders", ORDER, key), first)


async def test_keys_of_different_customers_do_not_meet(billing: Billing) -> None:
    """Both send the same body under the same key: each wallet gets its own money."""
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    body = {"amount": 5000, "currency": "KRW", "source": "BANK_TRANSFER"}
    key = uuid4().hex

    mine = await billing.post("/api/v1/wallet/top-ups", body, key)
    theirs = await other.post("/api/v1/wallet/top-ups", body, key)

    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert theirs.json()["customerId"] == other.customer_id
    assert await billing.balance() == await other.balance() == (5000, 0)


async def test_keys_of_different_paths_do_not_meet(billing: Billing) -> None:
    key = uuid4().hex

    order = await billing.post("/api/v1/orders", ORDER, key)
    body = {"orderId": order.json()["id"], "method": "CARD"}
    paid = await billing.post("/api/v1/payments", body, key)
    refund = {"paymentId": paid.json()["id"], "reason": "all of it"}
    refunded = await billing.post("/api/v1/refunds", refund, key)
    top_up = await billing.post("/api/v1/wallet/top-ups", {"amount": 1, "currency": "KRW"}, key)

    for answer in (order, paid, refunded, top_up):
        assert answer.status_code == 201
        assert "Idempotency-Replayed" not in answer.headers


async def test_a_cancellation_has_a_key_of_its_own(billing: Billing, settings: Settings) -> None:
    """A payment that never reached Temporal is cancelled; the repeat gets the same answer."""
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    pending = await accepted(billing, settings, "/api/v1/payments", body)
    path = f"{pending.headers['Location']}/cancel"
    key = uuid4().hex

    first, *repeats = await asyncio.gather(*(billing.post(path, {}, key) for _ in range(5)))

    bodies = {answer.content for answer in (first, *repeats) if answer.status_code == 200}
    assert len(bodies) == 1
    ended = json.loads(bodies.pop())
    assert ended["status"] in ("CANCELLED", "COMPLETED")
    captured = (await billing.book(ended["id"]))["totals"].get("KRW", {}).get("captured", 0)
    assert captured == (2000 if ended["status"] == "COMPLETED" else 0)
    refused(await billing.post(path, {}), 409, "already-final")
    refused(await billing.post(path, {"x": 1}, key), 400, "invalid-request")


async def test_a_decision_has_a_key_of_its_own(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """Nobody can tell what the PG did; an operator says so twice, with a trembling finger."""
    in_review = await payment_in_review(billing, settings, temporal_client)
    path = f"/api/v1/payments/{in_review}/resolve"
    decision = {"outcome": "captured", "reason": "seen in the PG's console"}
    key = uuid4().hex

    answers = await asyncio.gather(*(billing.post(path, decision, key) for _ in range(5)))

    bodies = {answer.content for answer in answers if answer.status_code == 200}
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["status"] == "COMPLETED"
    other = {"outcome": "failed", "reason": "no, it did not"}
    refused(await billing.post(path, other, key), 422, "idempotency-key-reused")
    refused(await billing.post(path, other), 409, "already-decided")
    repeat = await billing.post(path, decision, key)
    assert (repeat.status_code, repeat.headers["Idempotency-Replayed"]) == (200, "true")
