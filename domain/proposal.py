"""Decisions that one person alone may not take: the first one's call is a proposal, the same call
of another person carries it out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto

from domain.customer import Agreement
from domain.dead_letter import Operation, Wanted
from domain.event import JSON
from domain.invoice import OPEN, InvoiceHead, InvoiceStatus
from domain.money import format_amount
from domain.pricing import Plan
from domain.roles import Action


class Kind(StrEnum):
    """What is decided. A name is never changed: it is a part of what is compared."""

    APPROVAL = "invoice-approval"
    WRITE_OFF = "invoice-write-off"
    REPLAY = "settlement-replay"
    PLAN_VERSION = "plan-version"
    PLAN_WITHDRAWAL = "plan-withdrawal"
    PLAN_ASSIGNMENT = "plan-assignment"
    DEAD_LETTERS = "dead-letter-job"


ASKS: Mapping[Kind, Action] = {
    Kind.APPROVAL: Action.INVOICE_DECIDE,
    Kind.WRITE_OFF: Action.INVOICE_CLOSE,
    Kind.REPLAY: Action.SETTLEMENT_RUN,
    Kind.PLAN_VERSION: Action.PLAN_PUT,
    Kind.PLAN_WITHDRAWAL: Action.PLAN_WITHDRAW,
    Kind.PLAN_ASSIGNMENT: Action.CUSTOMER_PUT,
    Kind.DEAD_LETTERS: Action.DEAD_LETTER_DECIDE_MANY,
}
"""What the first person, the second, and whoever withdraws it must be allowed."""

HANDED_OVER = frozenset({Kind.APPROVAL, Kind.WRITE_OFF, Kind.REPLAY})
"""A workflow carries these out, after the decision: until the end of its time, whoever calls again
hands the same decision over again, which is harmless. The others are done with the decision."""


WAITS_WHILE: Mapping[Kind, frozenset[InvoiceStatus]] = {
    Kind.APPROVAL: frozenset({InvoiceStatus.AWAITING_APPROVAL}),
    Kind.WRITE_OFF: OPEN,
}
"""Of an invoice that stands elsewhere by now there is nothing left to agree to."""


@dataclass(frozen=True)
class Decision:
    """What one person wants. `what` says it in words; two calls want the same when kind, thing and
    `content` are the same. Why they want it is their own."""

    kind: Kind
    target_id: str
    what: str
    content: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        compared = [self.kind, self.target_id, self.content]
        text = json.dumps(compared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class SecondPerson:
    """How much one person may decide alone: so much, and not more. A currency that is not named is
    one of which nobody decides anything alone, as if 0 stood there.

    `approvals`, `write_offs`: totals of invoices, in minor units by currency.
    `replays`: months that failed. `prices`: customers whose prices change. `dead_letters`: of a
    job.
    `holds`: how long a proposal waits for a second person.
    """

    approvals: Mapping[str, int] = field(
        default_factory=lambda: {"KRW": 100_000_000, "USD": 10_000_000, "EUR": 10_000_000}
    )
    write_offs: Mapping[str, int] = field(
        default_factory=lambda: {"KRW": 1_000_000, "USD": 100_000, "EUR": 100_000}
    )
    replays: int = 1_000
    prices: int = 0
    dead_letters: int = 1_000
    holds: timedelta = timedelta(days=7)

    def approval(self, draft: InvoiceHead) -> Decision | None:
        """None, here and below, where one person is enough."""
        if draft.total <= self.approvals.get(draft.currency, 0):
            return None
        return _of_invoice(Kind.APPROVAL, "approve the draft", draft)

    def write_off(self, owed: InvoiceHead) -> Decision | None:
        if owed.total <= self.write_offs.get(owed.currency, 0):
            return None
        return _of_invoice(Kind.WRITE_OFF, "write off the invoice", owed)

    def replay(self, period: str, failed: int, customers: Sequence[str] = ()) -> Decision | None:
        """Of a month, of all that failed or of what was named; how many they are may change until
        the second call."""
        if failed <= self.replays:
            return None
        named: dict[str, JSON] = {"customers": [*sorted(set(customers))]}
        return Decision(Kind.REPLAY, period, f"settle {failed} failed months of {period}", named)

    def dead_letter_job(
        self, operation: Operation, wanted: Wanted, letters: int
    ) -> Decision | None:
        """For whoever is asked for by these words; how many they are may change until the second
        call."""
        if letters <= self.dead_letters:
            return None
        what = f"{operation.lower()} {letters} dead letters"
        return Decision(Kind.DEAD_LETTERS, operation, what, wanted.as_json())

    def plan_version(self, plan: Plan, since: datetime | None, customers: int) -> Decision | None:
        """Prices for so many customers, from a moment on, or from when they are agreed to."""
        if customers <= self.prices:
            return None
        what = f"change the prices of plan {plan.code} ({_counted(customers)}) from {_from(since)}"
        content: dict[str, JSON] = {**plan.prices(), "effectiveFrom": _moment(since)}
        return Decision(Kind.PLAN_VERSION, plan.code, what, content)

    def plan_withdrawal(self, code: str, customers: int) -> Decision | None:
        if customers <= self.prices:
            return None
        what = f"withdraw plan {code} ({_counted(customers)})"
        return Decision(Kind.PLAN_WITHDRAWAL, code, what)

    def plan_assignment(
        self, customer_id: str, had: str | None, terms: Agreement
    ) -> Decision | None:
        """Another plan than the one that the customer had then. Its first one changes no price."""
        if terms.plan_code is None or had in (None, terms.plan_code) or self.prices >= 1:
            return None
        since = _from(terms.plan_from)
        what = f"give customer {customer_id} plan {terms.plan_code} instead of {had} from {since}"
        content: dict[str, JSON] = {
            "customerId": customer_id,
            "timeZone": terms.time_zone,
            "planCode": terms.plan_code,
            "planFrom": _moment(terms.plan_from),
            "prepaid": terms.prepaid,
            "dueDays": terms.due_days,
        }
        return Decision(Kind.PLAN_ASSIGNMENT, customer_id, what, content)


def _of_invoice(kind: Kind, verb: str, row: InvoiceHead) -> Decision:
    amount = format_amount(row.total, row.currency)
    content: dict[str, JSON] = {
        "customerId": row.customer_id,
        "period": row.period,
        "total": row.total,
        "currency": row.currency,
    }
    return Decision(kind, row.id, f"{verb} of {amount} of {row.customer_id}", content)


def _counted(customers: int) -> str:
    return "1 customer" if customers == 1 else f"{customers} customers"


def _from(since: datetime | None) -> str:
    return _moment(since) or "then on"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


class ProposalStatus(StrEnum):
    PROPOSED = "PROPOSED"
    SECONDED = "SECONDED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class Proposal:
    """A decision that waits for a second person, or did. `ended_by` has seconded or withdrawn it;
    one whose time is over has ended by itself."""

    id: str
    kind: Kind
    target_id: str
    what: str
    content: Mapping[str, JSON]
    status: ProposalStatus
    reason: str | None
    proposed_by: str
    proposed_at: datetime
    holds_until: datetime
    ended_by: str | None = None

    @property
    def words(self) -> str:
        """As whoever called is told."""
        until = self.holds_until.astimezone(UTC)
        return (
            f"To {self.what} needs a second person: {self.proposed_by} has proposed it, and the "
            f"same call of somebody else carries it out until {until:%Y-%m-%d %H:%M} UTC "
            f"(proposal {self.id})."
        )


@dataclass(frozen=True)
class Agreed:
    """That a decision may be carried out. `persons`: who proposed it and who agreed; nobody where
    one person is enough."""

    persons: tuple[str, ...] = ()


ALONE = Agreed()


def together(persons: tuple[str, ...]) -> dict[str, JSON]:
    """What the audit trail says of who decided; nothing of who did it alone, whom it names."""
    return {"persons": list(persons)} if persons else {}


class Step(Enum):
    PROPOSE = auto()
    WAIT = auto()
    SECOND = auto()
    GO_ON = auto()


def step(latest: Proposal | None, caller: str, now: datetime) -> Step:
    """What a call comes to, with the latest proposal of the same decision."""
    if latest is None or now >= latest.holds_until or latest.status is ProposalStatus.WITHDRAWN:
        return Step.PROPOSE
    if latest.status is ProposalStatus.SECONDED:
        return Step.GO_ON if latest.kind in HANDED_OVER else Step.PROPOSE
    return Step.WAIT if latest.proposed_by == caller else Step.SECOND


def agreed(latest: Proposal | None) -> Agreed:
    """Who decided it."""
    if latest is None or latest.status is not ProposalStatus.SECONDED:
        return ALONE
    return Agreed((latest.proposed_by, latest.ended_by or ""))


def written(proposal: Proposal) -> dict[str, JSON]:
    """As callers see it."""
    return {
        "id": proposal.id,
        "kind": proposal.kind,
        "targetId": proposal.target_id,
        "what": proposal.what,
        "content": proposal.content,
        "reason": proposal.reason,
        "proposedBy": proposal.proposed_by,
        "proposedAt": proposal.proposed_at.astimezone(UTC).isoformat(),
        "holdsUntil": proposal.holds_until.astimezone(UTC).isoformat(),
    }
