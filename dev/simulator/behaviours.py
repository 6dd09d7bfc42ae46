"""What the gateway does to a call: the vocabulary, the test cards, the queue and the dice.

A call gets its behaviour from the first of these that has one: the queue (`POST
/control/behaviours`), the test card it is paid with, the mix (`--seed`, `--mix`); otherwise it is
approved. Nothing here does I/O.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel


class Operation(StrEnum):
    """What a call wants of the gateway."""

    CHARGE = "charge"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    INQUIRE = "inquire"


class Behaviour(StrEnum):
    """What the gateway does to one call. "Effect" is the change in the book.

    - `approve`: what was asked for; in the queue it shields a call from its card and the mix
    - `decline`: 402 with a code
    - `slow`: effect and answer after `seconds`, also if the caller gives up before
    - `error-before-effect`: 503; a re-send with the same key works
    - `error-after-effect`: the effect, then 500; a re-send gets the stored success
    - `lose-answer`: the effect, then the connection breaks
    - `hold-answer`: the effect, then no answer until the caller gives up
    - `late-capture`: no answer; the effect comes `seconds` after the request, restart or not;
      until then the key is in progress and an inquiry finds nothing new
    - `in-progress`: 409, also to a re-send of what is finished
    - `webhook-duplicated`, `webhook-reordered`: approved, and the webhook comes twice, or only
      after a later one
    """

    APPROVE = "approve"
    DECLINE = "decline"
    SLOW = "slow"
    ERROR_BEFORE_EFFECT = "error-before-effect"
    ERROR_AFTER_EFFECT = "error-after-effect"
    LOSE_ANSWER = "lose-answer"
    HOLD_ANSWER = "hold-answer"
    LATE_CAPTURE = "late-capture"
    IN_PROGRESS = "in-progress"
    WEBHOOK_DUPLICATED = "webhook-duplicated"
    WEBHOOK_REORDERED = "webhook-reordered"


# An inquiry has no effect, so only what can happen to an answer can happen to it.
_OF_INQUIRIES = {
    Behaviour.APPROVE,
    Behaviour.SLOW,
    Behaviour.ERROR_BEFORE_EFFECT,
    Behaviour.ERROR_AFTER_EFFECT,
    Behaviour.LOSE_ANSWER,
    Behaviour.HOLD_ANSWER,
}

# Behaviours that turn a key away without an effect. A card or the mix does so this many times per
# key and lets it pass then: a card that refused for ever would be an outage.
TURNS_AWAY = {Behaviour.ERROR_BEFORE_EFFECT: 1, Behaviour.IN_PROGRESS: 2}

_DEFAULT_SECONDS = {Behaviour.SLOW: 3.0, Behaviour.LATE_CAPTURE: 30.0}

DECLINE_MESSAGES = {
    "card_declined": "The card was declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "expired_card": "The card has expired.",
    "lost_card": "The card was reported lost.",
    "refund_declined": "The refund was declined.",
    "void_declined": "The void was declined.",
    "capture_declined": "The capture was declined.",
}

# What a merchant may call its orders and refunds: it stands in the path of an address.
NAME_PATTERN = r"^[A-Za-z0-9._:\-]{1,128}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, Field(ge=0, le=366 * 86_400, allow_inf_nan=False)]
DeclineCode = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


@dataclass(frozen=True, slots=True)
class Script:
    """A behaviour with its details; `seconds` before the time scale."""

    behaviour: Behaviour
    seconds: float = 0.0
    decline_code: str | None = None


APPROVED = Script(Behaviour.APPROVE)


def applies(behaviour: Behaviour, operation: Operation) -> bool:
    """Whether `behaviour` means anything for `operation`."""
    return operation is not Operation.INQUIRE or behaviour in _OF_INQUIRIES


def script(
    behaviour: Behaviour,
    operation: Operation,
    seconds: float | None = None,
    decline_code: str | None = None,
) -> Script:
    """`behaviour` for one `operation`, with the defaults for what is not given."""
    if behaviour is Behaviour.DECLINE and decline_code is None:
        decline_code = "card_declined" if operation is Operation.CHARGE else f"{operation}_declined"
    if seconds is None:
        seconds = _DEFAULT_SECONDS.get(behaviour, 0.0)
    return Script(behaviour, seconds, decline_code if behaviour is Behaviour.DECLINE else None)


@dataclass(frozen=True, slots=True)
class TestCard:
    """A card number that makes the gateway do something to one operation."""

    __test__ = False  # Not a test class, whatever its name says to pytest.

    number: str
    meaning: str
    behaviour: Behaviour = Behaviour.APPROVE
    operation: Operation = Operation.CHARGE
    seconds: float | None = None
    decline_code: str | None = None

    @property
    def script(self) -> Script:
        return script(self.behaviour, self.operation, self.seconds, self.decline_code)


TEST_CARDS = {
    card.number: card
    for card in (
        TestCard("4242424242424242", "approved"),
        TestCard(
            "4000000000000002",
            "declined: card_declined",
            Behaviour.DECLINE,
            decline_code="card_declined",
        ),
        TestCard(
            "4000000000009995",
            "declined: insufficient_funds",
            Behaviour.DECLINE,
            decline_code="insufficient_funds",
        ),
        TestCard(
            "4000000000000069",
            "declined: expired_card",
            Behaviour.DECLINE,
            decline_code="expired_card",
        ),
        TestCard(
            "4000000000009987",
            "declined for good: lost_card",
            Behaviour.DECLINE,
            decline_code="lost_card",
        ),
        TestCard("4000000000010001", "approved after 3 s", Behaviour.SLOW, seconds=3),
        TestCard("4000000000011009", "approved after 8 s", Behaviour.SLOW, seconds=8),
        TestCard("4000000000012007", "503 once, nothing happened", Behaviour.ERROR_BEFORE_EFFECT),
        TestCard("4000000000013005", "captured, then 500", Behaviour.ERROR_AFTER_EFFECT),
        TestCard("4000000000014003", "captured, then the line breaks", Behaviour.LOSE_ANSWER),
        TestCard("4000000000015000", "captured, never answered", Behaviour.HOLD_ANSWER),
        TestCard("4000000000016008", "captured 30 s later, never answered", Behaviour.LATE_CAPTURE),
        TestCard(
            "4000000000017006",
            "captured 20 min later, never answered",
            Behaviour.LATE_CAPTURE,
            seconds=1200,
        ),
        TestCard("4000000000018004", "409 in-progress twice, then approved", Behaviour.IN_PROGRESS),
        TestCard(
            "4000000000019002",
            "approved; every refund is declined",
            Behaviour.DECLINE,
            Operation.REFUND,
        ),
        TestCard(
            "4000000000020000",
            "approved; every void is declined",
            Behaviour.DECLINE,
            Operation.VOID,
        ),
        TestCard("4000000000021008", "approved; webhook sent twice", Behaviour.WEBHOOK_DUPLICATED),
        TestCard(
            "4000000000022006",
            "approved; webhook sent after a later one",
            Behaviour.WEBHOOK_REORDERED,
        ),
    )
}


class QueuedBehaviour(BaseModel):
    """One entry of the queue: the next `times` calls that match it get `behaviour`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    operation: Operation | Literal["any"] = "any"
    behaviour: Behaviour
    times: int = Field(default=1, ge=1, le=1_000_000, strict=True)
    order_id: Name | None = None
    billing_key: Name | None = None
    seconds: Seconds | None = None
    decline_code: DeclineCode | None = None

    def is_possible(self) -> bool:
        """False for what can never match: an inquiry cannot be declined."""
        return any(
            self.operation in ("any", operation) and applies(self.behaviour, operation)
            for operation in Operation
        )

    def matches(self, operation: Operation, order_id: str, billing_key: str | None) -> bool:
        return (
            self.operation in ("any", operation)
            and applies(self.behaviour, operation)
            and self.order_id in (None, order_id)
            and self.billing_key in (None, billing_key)
        )


def take(
    queue: list[QueuedBehaviour],
    operation: Operation,
    order_id: str,
    billing_key: str | None,
    only: Behaviour | None = None,
) -> Script | None:
    """Use up one turn of the first entry that matches (and is of kind `only`, if given)."""
    for position, entry in enumerate(queue):
        if only in (None, entry.behaviour) and entry.matches(operation, order_id, billing_key):
            entry.times -= 1
            if entry.times == 0:
                del queue[position]
            return script(entry.behaviour, operation, entry.seconds, entry.decline_code)
    return None


class _Share(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    probability: float = Field(ge=0, le=1)
    seconds: Seconds | None = None
    decline_code: DeclineCode | None = None


Mix = dict[Operation, list[tuple[float, Script]]]
_MIX: TypeAdapter[dict[str, float | _Share]] = TypeAdapter(dict[str, float | _Share])


def parse_mix(text: str) -> Mix:
    """Read `{"lose-answer": 0.05, "charge.decline": {"probability": 0.1, "declineCode": …}}`.

    A name without an operation stands for every operation it applies to. Raises ValueError for
    what is no mix, or when the probabilities of an operation add up to more than 1.
    """
    mix: Mix = {}
    for name, value in _MIX.validate_json(text).items():
        share = value if isinstance(value, _Share) else _Share(probability=value)
        prefix, _, kind = name.rpartition(".")
        behaviour = Behaviour(kind)
        for operation in [Operation(prefix)] if prefix else list(Operation):
            if applies(behaviour, operation):
                chosen = script(behaviour, operation, share.seconds, share.decline_code)
                mix.setdefault(operation, []).append((share.probability, chosen))
            elif prefix:
                raise ValueError(f"{behaviour} does not apply to {operation}")
    for operation, shares in mix.items():
        if sum(probability for probability, _ in shares) > 1 + 1e-9:
            raise ValueError(f"the probabilities of {operation} add up to more than 1")
    return mix


def roll(mix: Mix, seed: int, operation: Operation, number: int) -> Script:
    """The mix's choice for the `number`-th call of an operation: the same for the same seed."""
    dice = random.Random(f"{seed}:{operation}:{number}").random()
    for probability, chosen in mix.get(operation, []):
        if dice < probability:
            return chosen
        dice -= probability
    return APPROVED
