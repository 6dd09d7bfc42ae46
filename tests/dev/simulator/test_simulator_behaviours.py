"""Each way of going wrong: what the caller sees, and what the book says."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.dev.simulator.conftest import IN_VAIN
from tests.support.conditions import eventually_beside_the_loop

if TYPE_CHECKING:
    from tests.dev.simulator.conftest import Gateway, StartGateway


def test_a_slow_answer_has_its_effect_at_the_end_even_if_nobody_waits(gateway: Gateway) -> None:
    gateway.behave("charge", "slow", seconds=40)

    gateway.charge_in_vain("o-1")
    assert gateway.inquire("o-1").status_code == 404
    assert gateway.charge("o-1").json()["code"] == "in-progress"

    eventually_beside_the_loop(lambda: gateway.inquire("o-1").status_code == 200)
    assert gateway.charge("o-1").status_code == 201
    assert len(gateway.payments("o-1")) == 1


def test_an_error_before_the_effect_changes_nothing(gateway: Gateway) -> None:
    gateway.behave("charge", "error-before-effect", times=2)

    assert [gateway.charge("o-1").status_code for _ in range(2)] == [503, 503]
    assert gateway.inquire("o-1").status_code == 404
    assert gateway.charge("o-1").status_code == 201


def test_an_error_after_the_effect_hides_a_success(gateway: Gateway) -> None:
    gateway.behave("any", "error-after-effect")

    assert gateway.charge("o-1").status_code == 500
    assert gateway.inquire("o-1").json()["status"] == "CAPTURED"
    assert gateway.charge("o-1").status_code == 201
    assert len(gateway.payments("o-1")) == 1


def test_a_lost_answer_breaks_the_connection_after_the_effect(gateway: Gateway) -> None:
    gateway.behave("charge", "lose-answer")

    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        gateway.charge("o-1")
    assert gateway.inquire("o-1").json()["status"] == "CAPTURED"
    assert gateway.charge("o-1").status_code == 201
    assert len(gateway.payments("o-1")) == 1


def test_a_held_answer_lets_the_caller_wait_after_the_effect(gateway: Gateway) -> None:
    gateway.behave("charge", "hold-answer")

    gateway.charge_in_vain("o-1")
    assert gateway.inquire("o-1").json()["status"] == "CAPTURED"
    assert gateway.charge("o-1").status_code == 201


def test_a_late_capture_comes_after_the_caller_gave_up(gateway: Gateway) -> None:
    gateway.behave("charge", "late-capture", seconds=40)

    gateway.charge_in_vain("o-1")
    assert gateway.charge("o-1").json()["code"] == "in-progress"
    assert gateway.charge("o-1", amount=2).json()["code"] == "idempotency-key-reused"
    assert gateway.inquire("o-1").status_code == 404

    eventually_beside_the_loop(lambda: gateway.inquire("o-1").status_code == 200)
    assert gateway.charge("o-1").json() == gateway.inquire("o-1").json()
    assert len(gateway.payments("o-1")) == 1


def test_a_late_refund_that_is_impossible_by_then_never_happened(gateway: Gateway) -> None:
    gateway.charge("o-1", amount=1000)
    gateway.behave("refund", "late-capture", seconds=40)
    with pytest.raises(httpx2.ReadTimeout):
        gateway.post(
            "/v1/payments/o-1/refunds",
            {"refundId": "r-1", "amount": 1000, "currency": "KRW"},
            "refund-r-1",
            timeout=IN_VAIN,
        )
    assert gateway.refund("o-1", "r-2", 1).status_code == 201

    def no_longer_in_progress() -> str | None:
        code: str = gateway.refund("o-1", "r-1", 1000).json()["code"]
        return None if code == "in-progress" else code

    assert eventually_beside_the_loop(no_longer_in_progress) == "refund-exceeds-capture"
    assert gateway.inquire("o-1").json()["refundedAmount"] == 1


def test_in_progress_is_said_as_often_as_asked_also_to_a_replay(gateway: Gateway) -> None:
    gateway.behave("charge", "in-progress", times=2)

    assert [gateway.charge("o-1").status_code for _ in range(3)] == [409, 409, 201]

    gateway.behave("charge", "in-progress", orderId="o-1")
    gateway.behave("charge", "decline", orderId="o-1")
    assert [gateway.charge("o-1").status_code for _ in range(2)] == [409, 201]


def test_refunds_voids_and_captures_are_declined_with_a_code(gateway: Gateway) -> None:
    gateway.charge("o-1")
    gateway.charge("o-2", capture=False)
    gateway.behave("refund", "decline", declineCode="bank_closed")
    gateway.behave("void", "decline")
    gateway.behave("capture", "decline")

    refund = gateway.refund("o-1", "r-1", 100)
    void = gateway.void("o-2")
    capture = gateway.post("/v1/payments/o-2/capture", {}, "c")

    assert (refund.status_code, refund.json()["status"]) == (402, "DECLINED")
    assert refund.json()["declineCode"] == "bank_closed"
    assert gateway.client.get("/v1/payments/o-1/refunds/r-1").json() == refund.json()
    assert (void.status_code, void.json()["declineCode"]) == (402, "void_declined")
    assert (capture.status_code, capture.json()["declineCode"]) == (402, "capture_declined")
    assert gateway.inquire("o-1").json()["refundedAmount"] == 0
    assert gateway.inquire("o-2").json()["status"] == "AUTHORIZED"
    assert gateway.inquire("o-2").json()["declineCode"] is None
    assert gateway.void("o-2", key="another").json()["status"] == "VOIDED"


@pytest.mark.parametrize(
    ("card", "statuses"),
    [
        ("4000000000010001", [201, 201]),
        ("4000000000012007", [503, 201, 201]),
        ("4000000000013005", [500, 201]),
        ("4000000000018004", [409, 409, 201]),
    ],
)
def test_a_card_misbehaves_once_per_key(gateway: Gateway, card: str, statuses: list[int]) -> None:
    assert [gateway.charge("o-1", card).status_code for _ in statuses] == statuses
    assert gateway.charge("o-1", card, key="another").status_code == statuses[0]
    assert gateway.inquire("o-1").json()["status"] == "CAPTURED"


@pytest.mark.parametrize("card", ["4000000000014003", "4000000000015000"])
def test_a_card_loses_the_answer(gateway: Gateway, card: str) -> None:
    with pytest.raises(httpx2.TransportError):
        gateway.charge("o-1", card, timeout=IN_VAIN)
    assert gateway.charge("o-1", card).status_code == 201


@pytest.mark.parametrize("card", ["4000000000016008", "4000000000017006"])
def test_a_card_captures_late(gateway: Gateway, card: str) -> None:
    gateway.charge_in_vain("o-1", card)
    assert gateway.inquire("o-1").status_code == 404


def test_cards_decline_what_comes_after_the_charge(gateway: Gateway) -> None:
    assert gateway.charge("o-1", "4000000000019002").status_code == 201
    assert gateway.refund("o-1", "r-1", 1).json()["declineCode"] == "refund_declined"
    assert gateway.charge("o-2", "4000000000020000", capture=False).status_code == 201
    assert gateway.void("o-2").json()["declineCode"] == "void_declined"


def test_inquiries_go_wrong_too(gateway: Gateway) -> None:
    gateway.charge("o-1")
    gateway.behave("inquire", "error-before-effect")
    gateway.behave("inquire", "error-after-effect")
    gateway.behave("inquire", "slow", seconds=1)
    gateway.behave("inquire", "lose-answer")

    assert [gateway.inquire("o-1").status_code for _ in range(3)] == [503, 500, 200]
    with pytest.raises(httpx2.TransportError):
        gateway.inquire("o-1")
    assert gateway.inquire("o-1").status_code == 200


def test_the_first_entry_of_the_queue_that_matches_wins(gateway: Gateway) -> None:
    gateway.behave("charge", "decline", orderId="o-2", declineCode="for_o_2")
    gateway.behave("charge", "decline", billingKey="bk_4000000000009995", declineCode="for_card")
    gateway.behave("charge", "approve")

    assert gateway.charge("o-3", "4000000000000002").status_code == 201
    assert gateway.charge("o-1", "4000000000009995").json()["declineCode"] == "for_card"
    assert gateway.charge("o-2").json()["declineCode"] == "for_o_2"
    assert gateway.client.get("/control/behaviours").json() == {"behaviours": []}


def test_the_queue_can_be_read_and_emptied(gateway: Gateway) -> None:
    gateway.behave("void", "slow", times=3, seconds=2)

    (entry,) = gateway.client.get("/control/behaviours").json()["behaviours"]
    assert (entry["operation"], entry["behaviour"], entry["times"]) == ("void", "slow", 3)

    assert gateway.client.delete("/control/behaviours").json() == {"behaviours": []}
    assert gateway.client.get("/control/behaviours").json() == {"behaviours": []}


def test_an_outage_refuses_everything_or_answers_nothing(gateway: Gateway) -> None:
    gateway.charge("o-1")

    gateway.client.post("/control/outage", json={"mode": "refuse"})
    assert gateway.charge("o-1").status_code == 503
    assert gateway.inquire("o-1").status_code == 503
    gateway.client.post("/control/outage", json={"mode": "hang"})
    gateway.charge_in_vain("o-2")
    assert gateway.client.get("/health").status_code == 200

    gateway.client.post("/control/outage", json={"mode": "none"})
    assert gateway.inquire("o-2").status_code == 404


def test_a_reset_empties_the_book_and_forgets_what_was_to_come(gateway: Gateway) -> None:
    gateway.charge("o-1")
    gateway.behave("charge", "late-capture", seconds=2)
    gateway.charge_in_vain("o-2")

    gateway.client.post("/control/reset")

    assert gateway.payments() == []
    assert gateway.charge("o-2").status_code == 201
    gateway.behave("charge", "slow", seconds=3)
    gateway.charge("o-3")  # By now the late effect would have come.
    assert len(gateway.payments("o-2")) == 1


def test_a_seed_and_a_mix_repeat_themselves(start_gateway: StartGateway) -> None:
    mix = '{"charge.decline": {"probability": 0.4, "declineCode": "dice"}, "slow": 0.1}'

    def outcomes(gateway: Gateway, first: int, last: int) -> list[int]:
        return [gateway.charge(f"o-{n}").status_code for n in range(first, last)]

    options = ("--mix", mix, "--time-scale", "1000", "--seed")
    gateway = start_gateway(*options, "7", book="seven")
    whole = outcomes(gateway, 0, 40)
    assert {201, 402} == set(whole)

    gateway.client.post("/control/reset")
    begun = outcomes(gateway, 0, 20)
    gateway.stop(signal.SIGKILL)
    gateway.start()
    assert begun + outcomes(gateway, 20, 40) == whole

    assert outcomes(start_gateway(*options, "8", book="eight"), 0, 40) != whole


def test_a_mix_turns_a_key_away_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--mix", '{"error-before-effect": 1}')

    assert gateway.charge("o-1").status_code == 503
    assert gateway.charge("o-1").status_code == 201
    assert gateway.inquire("o-1").status_code == 503
