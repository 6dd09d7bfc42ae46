"""What only a person may decide: the question, the answers it takes, and what ends it otherwise.

A review asks one question. An answer to another one never ends it: the PG's "I did not void it" is
why a person is asked about a void, not how that is decided.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.audit import Actor
from domain.errors import AlreadyDecided, NotAnAnswer, NotInReview
from domain.failure import FailureCode
from domain.gateway import GatewayAnswer, GatewayStatus, Operation


class Outcome(StrEnum):
    """What a person found out at the PG."""

    CAPTURED = "captured"
    """The PG has taken the money."""
    AUTHORIZED = "authorized"
    """The PG has set the money aside."""
    VOIDED = "voided"
    """The PG has let the authorization go, or it has lapsed."""
    REFUNDED = "refunded"
    """The money was given back."""
    FAILED = "failed"
    """Nothing of what was asked for has happened."""


class Question(StrEnum):
    """What is asked."""

    CAPTURE = "capture"
    AUTHORIZATION = "authorization"
    VOID = "void"
    REFUND = "refund"
    LATE_CAPTURE_REFUND = "late-capture-refund"

    @property
    def words(self) -> str:
        """As a person reads it, with the answers that it takes."""
        return f"{_TERMS[self].words} ({' or '.join(self.answers)})"

    @property
    def answers(self) -> tuple[Outcome, ...]:
        """What a person may answer."""
        return tuple(_TERMS[self].answers)

    def ended_by(self, answer: GatewayAnswer) -> bool:
        """Whether this answer of the PG decides it, so that no person need do so."""
        return answer.status in _TERMS[self].decisive

    def decided(self, resolution: "Resolution") -> GatewayAnswer:
        """A person's answer, in the PG's place; raises `KeyError` for one that does not go with the
        question."""
        status = _TERMS[self].answers[resolution.outcome]
        code = FailureCode.RESOLVED_FAILED if resolution.outcome is Outcome.FAILED else None
        return GatewayAnswer(status, code=code, message=resolution.reason)

    def answered(self, closed: "ClosedReview") -> GatewayAnswer:
        """What its end means, whoever brought it about."""
        if closed.decided_by is not None:
            return self.decided(Resolution(Outcome(closed.outcome), closed.reason or ""))
        return GatewayAnswer(GatewayStatus(closed.outcome.upper()), message=closed.reason)


@dataclass(frozen=True)
class Resolution:
    """An operator's answer to a review, and how they know."""

    outcome: Outcome
    reason: str
    by: Actor | None = None


@dataclass(frozen=True)
class NewReview:
    """A question to a person. `reference_id` is the payment's id, or the refund's where a refund is
    asked about; each has at most one open review."""

    reference_id: str
    payment_id: str
    operation: Operation
    question: Question
    reason: str


@dataclass(frozen=True)
class Review:
    """A question that waits, or waited, for a person: `closed_at` is None while it does. What it
    came to is `outcome`, with a `note`; see `ClosedReview` for `decided_by`."""

    id: int
    reference_id: str
    payment_id: str
    operation: Operation
    question: Question
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    note: str | None
    decided_by: str | None


@dataclass(frozen=True)
class Wanted:
    """Which questions somebody looks for; what is None does not matter. `open` are those that
    nobody has answered yet, and that was asked from `since` until before `until`."""

    customer_id: str | None = None
    payment_id: str | None = None
    question: Question | None = None
    open: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class ListedReview:
    """One with the money and the customer that it is about."""

    review: Review
    amount: int
    currency: str
    customer_id: str


@dataclass(frozen=True)
class ClosedReview:
    """How a review ended. `decided_by` is the id of the Update that brought a person's answer, and
    None where the PG gave it."""

    reference_id: str
    outcome: str
    reason: str | None = None
    decided_by: str | None = None
    by: Actor | None = field(default=None, compare=False)


def check(question: Question | None, decided: str | None, outcome: Outcome) -> None:
    """Whether a person may answer this now. Raises `NotInReview` when nothing is asked,
    `AlreadyDecided` when it is `decided` so already, and `NotAnAnswer` for the answer to another
    question."""
    if question is None:
        raise NotInReview("Nothing is waiting for a decision.")
    if decided is not None:
        raise AlreadyDecided(f"It was decided before: {decided}.")
    if outcome not in question.answers:
        raise NotAnAnswer(f"{outcome} is no answer: {question.words}")


@dataclass(frozen=True)
class _Terms:
    words: str
    answers: dict[Outcome, GatewayStatus]
    decisive: frozenset[GatewayStatus]


_TERMS = {
    Question.CAPTURE: _Terms(
        "Has the PG taken the money?",
        {
            Outcome.CAPTURED: GatewayStatus.CAPTURED,
            Outcome.FAILED: GatewayStatus.NOT_FOUND,
        },
        frozenset({GatewayStatus.CAPTURED, GatewayStatus.DECLINED}),
    ),
    Question.AUTHORIZATION: _Terms(
        "Has the PG set the money aside?",
        {
            Outcome.AUTHORIZED: GatewayStatus.AUTHORIZED,
            Outcome.FAILED: GatewayStatus.NOT_FOUND,
        },
        frozenset({GatewayStatus.AUTHORIZED, GatewayStatus.DECLINED}),
    ),
    Question.VOID: _Terms(
        "Has the PG let the authorization go, or has it captured it?",
        {
            Outcome.VOIDED: GatewayStatus.VOIDED,
            Outcome.CAPTURED: GatewayStatus.CAPTURED,
        },
        frozenset({GatewayStatus.VOIDED, GatewayStatus.CAPTURED}),
    ),
    Question.REFUND: _Terms(
        "Has the PG given the money back?",
        {
            Outcome.REFUNDED: GatewayStatus.REFUNDED,
            Outcome.FAILED: GatewayStatus.NOT_FOUND,
        },
        frozenset({GatewayStatus.REFUNDED, GatewayStatus.DECLINED}),
    ),
    # Nobody owes this money, so a "no" of the PG settles nothing: it stays in suspense only if a
    # person says so.
    Question.LATE_CAPTURE_REFUND: _Terms(
        "Has the late capture been given back?",
        {
            Outcome.REFUNDED: GatewayStatus.REFUNDED,
            Outcome.FAILED: GatewayStatus.NOT_FOUND,
        },
        frozenset({GatewayStatus.REFUNDED}),
    ),
}

QUESTIONS = {
    Operation.CHARGE: Question.CAPTURE,
    Operation.CAPTURE: Question.CAPTURE,
    Operation.AUTHORIZE: Question.AUTHORIZATION,
    Operation.VOID: Question.VOID,
    Operation.REFUND: Question.REFUND,
}
"""What is asked when the outcome of an operation cannot be found out."""
