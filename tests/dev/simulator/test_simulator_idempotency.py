"""One key, one effect: for as long as the gateway remembers the key, and not a second longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2

from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop

if TYPE_CHECKING:
    from tests.dev.simulator.conftest import Gateway, StartGateway


def test_the_same_key_gives_the_stored_answer(gateway: Gateway) -> None:
    first = gateway.charge("o-1")
    second = gateway.charge("o-1")

    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(gateway.payments("o-1")) == 1


def test_the_same_key_with_another_request_is_refused(gateway: Gateway) -> None:
    gateway.charge("o-1", key="k", amount=1000)

    assert gateway.charge("o-1", key="k", amount=1001).status_code == 422
    assert gateway.void("o-1", key="k").json()["code"] == "idempotency-key-reused"


def test_the_order_of_the_fields_makes_no_other_request(gateway: Gateway) -> None:
    body = {"orderId": "o", "amount": 1, "currency": "KRW", "billingKey": "bk_4242424242424242"}

    first = gateway.post("/v1/charges", body, "k")
    again = gateway.post("/v1/charges", dict(reversed(body.items())), "k")

    assert again.content == first.content


def test_a_refusal_leaves_the_key_free(gateway: Gateway) -> None:
    assert gateway.refund("o-1", "r-1", 1).status_code == 404

    gateway.charge("o-1")

    assert gateway.refund("o-1", "r-1", 1).status_code == 201


async def test_fifty_copies_at_once_have_one_effect(gateway: Gateway) -> None:
    body = {"orderId": "o", "amount": 1, "currency": "KRW", "billingKey": "bk_4242424242424242"}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=PATIENCE_SECONDS) as client:
        copies = [
            client.post("/v1/charges", json=body, headers={"Idempotency-Key": "k"})
            for _ in range(50)
        ]
        answers = await asyncio.gather(*copies)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(gateway.payments()) == 1


async def test_copies_of_a_slow_request_hear_that_it_is_in_progress(gateway: Gateway) -> None:
    gateway.behave("charge", "slow", seconds=40)
    body = {"orderId": "o", "amount": 1, "currency": "KRW", "billingKey": "bk_4242424242424242"}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=PATIENCE_SECONDS) as client:
        copies = [
            client.post("/v1/charges", json=body, headers={"Idempotency-Key": "k"})
            for _ in range(20)
        ]
        answers = await asyncio.gather(*copies)

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert len(gateway.payments()) == 1


def test_after_the_window_the_same_key_charges_again(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--key-window-seconds", "0.3")
    first = gateway.charge("o-1").json()["id"]

    def another() -> str | None:
        payment_id: str = gateway.charge("o-1").json()["id"]
        return None if payment_id == first else payment_id

    second = eventually_beside_the_loop(another)

    assert [payment["id"] for payment in gateway.payments("o-1")] == [first, second]
    assert gateway.inquire("o-1").json()["status"] == "CAPTURED"


def test_an_inquiry_shows_the_payment_that_holds_money(gateway: Gateway) -> None:
    gateway.charge("o-1", key="a", card="4000000000000002")
    captured = gateway.charge("o-1", key="b").json()
    gateway.charge("o-1", key="c", card="4000000000009995")

    assert gateway.inquire("o-1").json() == captured

    second = gateway.charge("o-1", key="d").json()
    gateway.refund("o-1", "r-1", 1000)
    still_captured = gateway.inquire("o-1").json()
    assert still_captured["refundedAmount"] == 0
    assert still_captured["id"] in (captured["id"], second["id"])
