"""What becomes of a call to a PG: certain, certainly not sent, or unknown; never guessed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from dev import process
from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from gateway.client import GatewayProfile, OutcomeUnknown, Unreachable
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from runtime.settings import Settings
from tests.gateway.wire import (
    Answer,
    FakeServer,
    breaks_off,
    drips,
    hangs_up,
    says,
    says_nothing,
    serving,
)
from tests.support.conditions import PATIENCE_SECONDS, eventually, patience
from tests.support.samples import a_payment, a_refund

CAPTURED, DECLINED, REFUNDED = (
    GatewayStatus.CAPTURED,
    GatewayStatus.DECLINED,
    GatewayStatus.REFUNDED,
)
NOT_FOUND, UNKNOWN = GatewayStatus.NOT_FOUND, GatewayStatus.UNKNOWN
LONGEST = 10 * PATIENCE_SECONDS
UNANSWERED = frozenset({"hold-answer", "late-capture"})
"""What the simulator does while it keeps its caller waiting."""


def a_charge(card: str = "4242424242424242", amount: int = 1_000) -> GatewayRequest:
    return replace(
        a_payment(card_amount=amount).gateway_request(Operation.CHARGE), billing_key=f"bk_{card}"
    )


def a_refund_of(charge: GatewayRequest, amount: int) -> GatewayRequest:
    payment = replace(a_payment(card_amount=charge.amount), payment_id=charge.payment_id)
    return a_refund(payment, amount, 0).gateway_refund()


@pytest.fixture
async def pg(settings: Settings) -> AsyncIterator[GuardedGateway]:
    """The simulator as the project reaches it."""
    async with reaching(settings, PATIENCE_SECONDS) as connected:
        yield connected


@pytest.fixture
async def impatient(settings: Settings) -> AsyncIterator[GuardedGateway]:
    """The same for a call that is to be given up: it waits for no answer that would come."""
    async with reaching(settings, 0.5) as connected:
        yield connected


@asynccontextmanager
async def reaching(settings: Settings, read_timeout: float) -> AsyncIterator[GuardedGateway]:
    profile = GatewayProfile("simulator", settings.gateway_url, read_timeout)
    connected = GuardedGateway(HttpGateway(profile), profile)
    try:
        yield connected
    finally:
        await connected.close()


async def behave(simulator: httpx2.AsyncClient, request: GatewayRequest, **behaviour: Any) -> None:
    """What the simulator does to the next call about this payment."""
    body = {"orderId": request.payment_id, **behaviour}
    assert (await simulator.post("/control/behaviours", json=body)).status_code == 201


async def test_a_charge_its_refund_and_what_an_inquiry_says_of_them(pg: GuardedGateway) -> None:
    charge = a_charge()
    refund = a_refund_of(charge, 400)
    assert (await pg.inquire(charge)).status is NOT_FOUND

    captured = await pg.send(charge)
    assert captured.status is CAPTURED
    assert captured.reference
    assert await pg.send(charge) == captured, "a re-send of the same key"
    assert await pg.inquire(charge) == captured

    assert (await pg.inquire(refund)).status is NOT_FOUND
    refunded = await pg.send(refund)
    assert refunded.status is REFUNDED
    assert await pg.inquire(refund) == refunded


async def test_a_decline_comes_with_the_words_of_the_pg(pg: GuardedGateway) -> None:
    charge = a_charge("4000000000009995")

    declined = await pg.send(charge)

    assert (declined.status, declined.code) == (DECLINED, "insufficient_funds")
    assert declined.message == "The card has insufficient funds."
    assert (await pg.inquire(charge)).status is DECLINED


@pytest.mark.parametrize(
    ("behaviour", "sent", "inquired"),
    [
        ("slow", CAPTURED, CAPTURED),
        ("error-before-effect", UNKNOWN, NOT_FOUND),
        ("error-after-effect", UNKNOWN, CAPTURED),
        ("lose-answer", UNKNOWN, CAPTURED),
        ("hold-answer", UNKNOWN, CAPTURED),
        ("late-capture", UNKNOWN, None),
        ("in-progress", UNKNOWN, NOT_FOUND),
    ],
)
async def test_each_fault_of_a_charge(
    pg: GuardedGateway,
    impatient: GuardedGateway,
    simulator: httpx2.AsyncClient,
    behaviour: str,
    sent: GatewayStatus,
    inquired: GatewayStatus | None,
) -> None:
    charge = a_charge()
    await behave(simulator, charge, operation="charge", behaviour=behaviour)

    first = impatient if behaviour in UNANSWERED else pg
    assert (await first.send(charge)).status is sent
    if inquired is None:

        async def is_captured() -> bool:
            return (await pg.inquire(charge)).status is CAPTURED

        await eventually(is_captured)
    else:
        assert (await pg.inquire(charge)).status is inquired
    assert (await pg.send(charge)).status is CAPTURED, "the re-send finds it or does it"


@pytest.mark.parametrize("behaviour", ["error-before-effect", "lose-answer", "hold-answer"])
async def test_an_inquiry_without_an_answer_says_nothing_of_the_charge(
    pg: GuardedGateway,
    impatient: GuardedGateway,
    simulator: httpx2.AsyncClient,
    behaviour: str,
) -> None:
    charge = a_charge()
    await pg.send(charge)
    await behave(simulator, charge, operation="inquire", behaviour=behaviour)

    first = impatient if behaviour in UNANSWERED else pg
    assert (await first.inquire(charge)).status is UNKNOWN
    assert (await pg.inquire(charge)).status is CAPTURED


async def test_what_the_pg_will_not_process_is_refused(pg: GuardedGateway) -> None:
    charge = a_charge()
    await pg.send(charge)

    too_much = await pg.send(a_refund_of(charge, 1_001))
    no_card = await pg.send(replace(a_charge(), billing_key=""))
    reused = await pg.send(replace(charge, amount=999))

    refused = [too_much, no_card, reused]
    assert {each.status for each in refused} == {GatewayStatus.REFUSED}
    assert all(each.code and each.message for each in refused)
    assert reused.code == "idempotency-key-reused"


@pytest.mark.parametrize("host", ["127.0.0.1", "pg.invalid"])
async def test_without_a_connection_nothing_was_sent(host: str) -> None:
    profile = GatewayProfile("gone", f"http://{host}:{process.free_port()}")
    gone = HttpGateway(profile)

    with pytest.raises(Unreachable):
        await gone.send(a_charge())
    await gone.close()
    guarded = GuardedGateway(HttpGateway(profile), profile)
    assert (await guarded.inquire(a_charge())).status is GatewayStatus.NOT_SENT
    await guarded.close()


@pytest.fixture
async def liar() -> AsyncIterator[FakeServer]:
    """A PG, or something that stands where a PG should."""
    async with serving(hangs_up) as served:
        yield served


@pytest.fixture
async def adapter(liar: FakeServer) -> AsyncIterator[HttpGateway]:
    async with adapting(liar, PATIENCE_SECONDS) as made:
        yield made


@asynccontextmanager
async def adapting(liar: FakeServer, read_timeout: float) -> AsyncIterator[HttpGateway]:
    made = HttpGateway(GatewayProfile("liar", liar.url, read_timeout))
    try:
        yield made
    finally:
        await made.close()


def truth(request: GatewayRequest) -> dict[str, Any]:
    """An honest answer about this charge."""
    return {
        "id": "pay_1",
        "orderId": request.payment_id,
        "status": "CAPTURED",
        "amount": request.amount,
        "currency": request.currency,
        "declineCode": None,
        "declineMessage": None,
    }


@pytest.mark.parametrize(
    ("lie", "wrong"),
    [
        ({"orderId": "another"}, "orderId"),
        ({"amount": 999}, "amount"),
        ({"amount": "1000"}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"currency": "JPY", "amount": 1}, "amount and currency"),
    ],
)
@pytest.mark.parametrize("status", [200, 402])
async def test_an_answer_about_something_else_is_not_believed(
    liar: FakeServer, adapter: HttpGateway, lie: dict[str, Any], wrong: str, status: int
) -> None:
    charge = a_charge()
    liar.answer = says(truth(charge) | lie, status)

    for call in (adapter.send, adapter.inquire):
        with pytest.raises(OutcomeUnknown, match=f"about another {wrong}"):
            await call(charge)


async def test_a_refund_is_believed_only_under_its_own_id(
    liar: FakeServer, adapter: HttpGateway
) -> None:
    refund = a_refund_of(a_charge(), 400)
    answer = truth(refund) | {"status": "REFUNDED", "refundId": "another"}
    liar.answer = says(answer)

    with pytest.raises(OutcomeUnknown, match="about another refundId"):
        await adapter.send(refund)
    liar.answer = says(answer | {"refundId": refund.reference_id})
    assert (await adapter.send(refund)).status is REFUNDED


NO_OUTCOME: dict[str, Callable[[GatewayRequest], Answer]] = {
    "hangs up": lambda _: hangs_up,
    "breaks off": lambda _: breaks_off,
    "says nothing": lambda _: says_nothing,
    "drips": lambda _: drips,
    "not HTTP": lambda _: _raw(b"SSH-2.0-OpenSSH_9.7\r\n"),
    "not JSON": lambda _: says(b"<html>captured</html>"),
    "not an object": lambda _: says(["CAPTURED"]),
    "not UTF-8": lambda _: says(b'{"status":"\xff"}'),
    "no status": lambda charge: says({**truth(charge), "status": None}),
    "no status at all": lambda charge: says(
        {name: value for name, value in truth(charge).items() if name != "status"}
    ),
    "a word we do not know": lambda charge: says({**truth(charge), "status": "PARTIALLY_CAPTURED"}),
    "authorized only": lambda charge: says({**truth(charge), "status": "AUTHORIZED"}),
    "a refund's word": lambda charge: says({**truth(charge), "status": "REFUNDED"}),
    "elsewhere": lambda charge: says(truth(charge) | {"orderId": "x"}, 302),
    "too busy": lambda charge: says(truth(charge), 503),
    "a proxy's page": lambda _: says(b"<h1>404 Not Found</h1>", 404),
    "another service's 404": lambda _: says({"detail": "Not Found"}, 404),
}


def _raw(content: bytes) -> Answer:
    async def write(writer: Any) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()

    return write


@pytest.mark.parametrize("what", NO_OUTCOME)
async def test_what_is_no_outcome_is_unknown_and_not_waited_for(
    liar: FakeServer, what: str
) -> None:
    """Silence is given up while the PG still keeps the line open; what is wrong with an answer is
    known at once, however long the caller would have waited."""
    charge = a_charge()
    liar.answer = NO_OUTCOME[what](charge)
    never_ends = what in ("says nothing", "drips")

    async with adapting(liar, 0.3 if never_ends else LONGEST) as adapter, patience():
        with pytest.raises(OutcomeUnknown):
            await adapter.inquire(charge)

    assert len(liar.requests) == 1


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("No.", "No."),
        (None, None),
        (5, None),
        (["No."], None),
        ("a\x00b", "ab"),
        ("a\ud800b", "a?b"),
        ("카드", "카드"),
        ("x" * 10_000, "x" * 500),
    ],
)
async def test_the_words_of_a_pg_can_always_be_stored(
    liar: FakeServer, adapter: HttpGateway, word: object, kept: str | None
) -> None:
    charge = a_charge()
    words = {"id": word, "declineCode": word, "declineMessage": word}
    liar.answer = says({**truth(charge), "status": "DECLINED", **words}, 402)

    assert await adapter.send(charge) == GatewayAnswer(DECLINED, kept, kept, kept)
    liar.answer = says({"code": word, "message": word}, 409)
    assert (await adapter.send(charge)).code == kept
    liar.answer = says({"code": word, "message": word}, 400)
    if kept is None:
        with pytest.raises(OutcomeUnknown, match="not in the PG's words"):
            await adapter.send(charge)
    else:
        assert await adapter.send(charge) == GatewayAnswer(
            GatewayStatus.REFUSED, code=kept, message=kept
        )


async def test_a_connection_that_the_pg_closed_is_not_used_for_the_next_call(
    liar: FakeServer, adapter: HttpGateway
) -> None:
    charge = a_charge()

    async def answers_and_closes(writer: Any) -> None:
        await says(truth(charge))(writer)
        writer.close()
        await writer.wait_closed()

    liar.answer = answers_and_closes
    for _ in range(3):
        assert (await adapter.send(charge)).status is CAPTURED
