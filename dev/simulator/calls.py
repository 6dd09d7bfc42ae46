"""How a call becomes an answer: idempotency key, behaviour, effect, answer.

Between looking a key up and committing its effect nothing awaits, so of any number of copies of
one request exactly one has the effect. The rules about keys are Stripe's: within the window the
stored status and body come back, also a decline's; a refusal (4xx) or an outage stores nothing.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

from fastapi import Response

from dev.simulator import book, effects
from dev.simulator.behaviours import (
    APPROVED,
    TEST_CARDS,
    TURNS_AWAY,
    Behaviour,
    Operation,
    Script,
    roll,
    take,
)
from dev.simulator.state import Simulator
from dev.simulator.wire import (
    ChargeBody,
    MoneyCall,
    NoAnswer,
    Refused,
    answer,
    as_json,
    stored_call,
)

BILLING_KEY_PREFIX = "bk_"


async def money(sim: Simulator, call: MoneyCall, key: str) -> Response:
    """Answer a call that may move money.

    Raises Refused for an answer without an effect and NoAnswer for no answer.
    """
    known = _known_key(sim, call, key)
    billing_key = _billing_key(sim, call)
    if known is not None and known.status is not None and known.body is not None:
        if take(sim.queue, call.operation, call.order_id, billing_key, Behaviour.IN_PROGRESS):
            raise _in_progress()
        return _replay(known.status, known.body)
    script = _choose(sim, call, billing_key, known.turned_away if known else 0)
    match script.behaviour:
        case Behaviour.ERROR_BEFORE_EFFECT:
            _turn_away(sim, call, key)
            raise Refused(503, "unavailable", "The gateway is not available. Nothing happened.")
        case Behaviour.IN_PROGRESS:
            _turn_away(sim, call, key)
            raise _in_progress()
        case Behaviour.LATE_CAPTURE:
            _postpone(sim, call, key, script)
            raise NoAnswer(held=True)
        case Behaviour.SLOW:
            sim.in_flight[key] = call.fingerprint
            await _pause(sim, script.seconds)
            del sim.in_flight[key]
    effect = _commit(sim, call, key, script)
    _spoil_answer(script)
    return effect


async def inquire(
    sim: Simulator, order_id: str, look: Callable[[], dict[str, object] | None]
) -> Response:
    """Answer what `look` finds in the book; Refused with 404 if that is nothing."""
    thrown = _from_mix(sim, Operation.INQUIRE)
    billing_key = _billing_key_of(sim, order_id)
    script = take(sim.queue, Operation.INQUIRE, order_id, billing_key) or thrown
    if script.behaviour is Behaviour.ERROR_BEFORE_EFFECT:
        raise Refused(503, "unavailable", "The gateway is not available.")
    if script.behaviour is Behaviour.SLOW:
        await _pause(sim, script.seconds)
    found = look()
    _spoil_answer(script)
    if found is None:
        raise Refused(404, "not-found", "The gateway knows nothing of that.")
    return answer(200, as_json(found))


def resume_late_effects(sim: Simulator) -> None:
    """Take up what was still to come when the program stopped; what is overdue comes at once."""
    for late in book.late_effects(sim.db):
        call = stored_call(late.operation, late.order_id, late.request)
        sim.in_flight[late.key] = call.fingerprint
        _schedule(sim, call, late)


def _known_key(sim: Simulator, call: MoneyCall, key: str) -> book.KnownKey | None:
    """What is known of `key`; Refused if it belongs to another request or is being worked on."""
    known = book.find_key(sim.db, key)
    under_way = sim.in_flight.get(key)
    forgotten_before = time.time() - sim.options.key_window_seconds
    if known is not None and under_way is None and known.first_seen <= forgotten_before:
        book.forget_key(sim.db, key)
        known = None
    fingerprint = under_way or (known.fingerprint if known else call.fingerprint)
    if fingerprint != call.fingerprint:
        raise Refused(422, "idempotency-key-reused", "The key belongs to another request.")
    if under_way is not None:
        raise _in_progress()
    return known


def _replay(status: int, body: str) -> Response:
    response = answer(status, body)
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _choose(sim: Simulator, call: MoneyCall, billing_key: str | None, turned_away: int) -> Script:
    # The dice are thrown for each new key, used or not: a queued behaviour or a card must not
    # shift what the calls after it get.
    thrown = APPROVED if turned_away else _from_mix(sim, call.operation)
    queued = take(sim.queue, call.operation, call.order_id, billing_key)
    if queued is not None:
        return queued
    card = TEST_CARDS.get((billing_key or "").removeprefix(BILLING_KEY_PREFIX))
    if card and card.operation is call.operation and card.behaviour is not Behaviour.APPROVE:
        spent = turned_away >= TURNS_AWAY.get(card.behaviour, turned_away + 1)
        return APPROVED if spent else card.script
    return thrown


def _billing_key(sim: Simulator, call: MoneyCall) -> str | None:
    if isinstance(call.body, ChargeBody):
        return call.body.billing_key
    return _billing_key_of(sim, call.order_id)


def _billing_key_of(sim: Simulator, order_id: str) -> str | None:
    payment = book.find_payment(sim.db, order_id)
    return payment["billing_key"] if payment else None


def _from_mix(sim: Simulator, operation: Operation) -> Script:
    if operation not in sim.options.mix:
        return APPROVED
    number = book.count(sim.db, operation)
    return roll(sim.options.mix, sim.options.seed, operation, number)


def _commit(sim: Simulator, call: MoneyCall, key: str, script: Script) -> Response:
    with book.transaction(sim.db):
        response = _apply(sim, call, key, script)
    sim.webhook_due.set()
    return response


def _apply(sim: Simulator, call: MoneyCall, key: str, script: Script) -> Response:
    """The effect, the stored answer and the webhook, which belong into one transaction."""
    book.remember_key(sim.db, key, call.fingerprint, time.time())
    effect = effects.apply(sim.db, call, script.decline_code)
    body = as_json(effect.body)
    book.store_answer(sim.db, key, effect.status, body)
    if effect.event is not None and sim.webhook_url is not None:
        _announce(sim, effect.event, call, script)
    return answer(effect.status, body)


def _announce(sim: Simulator, event: str, call: MoneyCall, script: Script) -> None:
    event_id = f"evt_{uuid.uuid4().hex}"
    body = {"id": event_id, "type": event, "orderId": call.order_id}
    refund_id = getattr(call.body, "refund_id", None)
    if refund_id is not None:
        body["refundId"] = refund_id
    body["occurredAt"] = book.now_text()
    copies = 2 if script.behaviour is Behaviour.WEBHOOK_DUPLICATED else 1
    held = script.behaviour is Behaviour.WEBHOOK_REORDERED
    book.add_event(sim.db, event_id, as_json(body), copies, held, time.time())


def _spoil_answer(script: Script) -> None:
    match script.behaviour:
        case Behaviour.ERROR_AFTER_EFFECT:
            raise Refused(500, "internal-error", "Something went wrong at the gateway.")
        case Behaviour.LOSE_ANSWER:
            raise NoAnswer(held=False)
        case Behaviour.HOLD_ANSWER:
            raise NoAnswer(held=True)


def _turn_away(sim: Simulator, call: MoneyCall, key: str) -> None:
    with book.transaction(sim.db):
        book.remember_key(sim.db, key, call.fingerprint, time.time())
        book.count_turned_away(sim.db, key)


def _postpone(sim: Simulator, call: MoneyCall, key: str, script: Script) -> None:
    """Write down that the effect of `call` comes later: a restart must not lose it."""
    now = time.time()
    due_at = now + script.seconds / sim.options.time_scale
    late = book.LateEffect(key, call.operation, call.order_id, call.request, due_at)
    with book.transaction(sim.db):
        book.remember_key(sim.db, key, call.fingerprint, now)
        book.add_late_effect(sim.db, late)
    sim.in_flight[key] = call.fingerprint
    _schedule(sim, call, late)


def _schedule(sim: Simulator, call: MoneyCall, late: book.LateEffect) -> None:
    delay = max(0.0, late.due_at - time.time())
    asyncio.get_running_loop().call_later(delay, _complete_late, sim, call, late)


def _complete_late(sim: Simulator, call: MoneyCall, late: book.LateEffect) -> None:
    try:
        with book.transaction(sim.db):
            if not book.take_late_effect(sim.db, late):
                return
            _apply(sim, call, late.key, APPROVED)
    except Refused:
        # Nothing may happen any more (a refund of what is refunded): as if it was never asked.
        with book.transaction(sim.db):
            book.take_late_effect(sim.db, late)
            book.forget_key(sim.db, late.key)
    del sim.in_flight[late.key]
    sim.webhook_due.set()


async def _pause(sim: Simulator, seconds: float) -> None:
    """Wait, scaled; NoAnswer if everybody is cut off meanwhile."""
    try:
        async with asyncio.timeout(seconds / sim.options.time_scale):
            await sim.hang_up.wait()
    except TimeoutError:
        return
    raise NoAnswer(held=False)


def _in_progress() -> Refused:
    return Refused(409, "in-progress", "A request with this key is being worked on.")
