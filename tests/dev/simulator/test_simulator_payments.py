"""What a merchant does on a good day, and what the gateway refuses on any day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.dev.simulator.conftest import Gateway


def test_a_charge_captures_and_is_found_by_the_order_id(gateway: Gateway) -> None:
    answer = gateway.charge("o-1", amount=5000)

    assert answer.status_code == 201
    payment = answer.json()
    assert payment["id"].startswith("pg_")
    assert payment | {"id": "", "createdAt": ""} == {
        "id": "",
        "orderId": "o-1",
        "status": "CAPTURED",
        "amount": 5000,
        "currency": "KRW",
        "capturedAmount": 5000,
        "refundedAmount": 0,
        "declineCode": None,
        "declineMessage": None,
        "createdAt": "",
    }
    assert gateway.inquire("o-1").json() == payment
    assert gateway.inquire("o-2").status_code == 404
    assert gateway.inquire("o-2").json()["code"] == "not-found"


def test_an_authorization_is_captured_in_part_and_cannot_be_voided_then(gateway: Gateway) -> None:
    assert gateway.charge("o-1", capture=False).json()["status"] == "AUTHORIZED"

    captured = gateway.post(
        "/v1/payments/o-1/capture", {"amount": 400, "currency": "KRW"}, "capture"
    )

    assert (captured.status_code, captured.json()["capturedAmount"]) == (200, 400)
    assert (gateway.void("o-1").status_code, gateway.void("o-1").json()["code"]) == (
        422,
        "invalid-state",
    )


def test_a_voided_authorization_cannot_be_captured(gateway: Gateway) -> None:
    gateway.charge("o-1", capture=False)

    assert gateway.void("o-1").json()["status"] == "VOIDED"

    assert gateway.post("/v1/payments/o-1/capture", None, "capture").status_code == 422


def test_refunds_never_exceed_the_capture(gateway: Gateway) -> None:
    gateway.charge("o-1", amount=1000)

    first = gateway.refund("o-1", "r-1", 600)
    too_much = gateway.refund("o-1", "r-2", 401)
    rest = gateway.refund("o-1", "r-3", 400)

    assert (first.status_code, first.json()["status"]) == (201, "REFUNDED")
    assert (too_much.status_code, too_much.json()["code"]) == (422, "refund-exceeds-capture")
    assert rest.status_code == 201
    assert gateway.inquire("o-1").json()["refundedAmount"] == 1000
    assert gateway.client.get("/v1/payments/o-1/refunds/r-1").json() == first.json()
    assert gateway.client.get("/v1/payments/o-1/refunds/r-2").status_code == 404


def test_a_refund_in_another_currency_or_of_an_unknown_order_is_refused(gateway: Gateway) -> None:
    gateway.charge("o-1")
    body = {"refundId": "r-1", "amount": 1, "currency": "USD"}

    assert gateway.post("/v1/payments/o-1/refunds", body, "a").json()["code"] == "currency-mismatch"
    assert gateway.post("/v1/payments/o-2/refunds", body, "b").status_code == 404


def test_the_book_adds_up_per_currency(gateway: Gateway) -> None:
    gateway.charge("o-1", amount=1000)
    gateway.charge("o-2", amount=500, capture=False)
    gateway.refund("o-1", "r-1", 300)
    dollars = {"orderId": "o-3", "amount": 7, "currency": "USD"}
    gateway.post("/v1/charges", dollars | {"billingKey": "bk_4242424242424242"}, "usd")

    book = gateway.client.get("/v1/book").json()

    assert book["totals"] == {
        "KRW": {"captured": 1000, "refunded": 300},
        "USD": {"captured": 7, "refunded": 0},
    }
    assert [payment["orderId"] for payment in book["payments"]] == ["o-1", "o-2", "o-3"]
    assert [refund["refundId"] for refund in book["refunds"]] == ["r-1"]
    assert [payment["orderId"] for payment in gateway.payments("o-2")] == ["o-2"]


def test_only_test_cards_become_billing_keys(gateway: Gateway) -> None:
    made = gateway.client.post("/v1/billing-keys", json={"cardNumber": "4242424242424242"})
    real = gateway.client.post("/v1/billing-keys", json={"cardNumber": "4111111111111111"})

    assert made.status_code == 201
    assert made.json() == {"billingKey": "bk_4242424242424242", "last4": "4242"}
    assert (real.status_code, real.json()["code"]) == (422, "unknown-card")
    assert gateway.charge("o-1", card="4111111111111111").json()["code"] == "unknown-billing-key"


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("4000000000000002", "card_declined"),
        ("4000000000009995", "insufficient_funds"),
        ("4000000000000069", "expired_card"),
        ("4000000000009987", "lost_card"),
    ],
)
def test_a_decline_is_an_answer_and_is_kept(gateway: Gateway, card: str, code: str) -> None:
    answer = gateway.charge("o-1", card)

    assert answer.status_code == 402
    assert answer.json()["status"] == "DECLINED"
    assert answer.json()["declineCode"] == code
    assert answer.json()["capturedAmount"] == 0
    assert gateway.inquire("o-1").json() == answer.json()
    assert gateway.charge("o-1", card).json() == answer.json()


def test_every_test_card_is_listed_in_the_manual(gateway: Gateway) -> None:
    program = Path(__file__).parents[3] / "dev" / "simulator" / "__main__.py"
    manual = program.read_text()

    for card in gateway.client.get("/v1/test-cards").json()["testCards"]:
        assert f"    {card['cardNumber']}  {card['meaning']}\n" in manual
