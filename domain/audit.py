"""Who did what: entries of the audit trail, and the chain of seals that shows when one was changed.

An entry is appended in the transaction of what it tells of. Seals are computed behind that path: a
chain inside it would make everybody wait for one row.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.access import NOWHERE, Access, Source
from domain.event import JSON, Event, Origin, Topic
from domain.roles import Role


class ActorType(StrEnum):
    USER = "USER"
    """A customer, for itself."""
    OPERATOR = "OPERATOR"
    FINANCE = "FINANCE"
    ADMIN = "ADMIN"
    SERVICE = "SERVICE"
    """A program of whoever runs the installation."""
    SYSTEM = "SYSTEM"
    """A workflow of ours: its id is the actor's."""
    EXTERNAL = "EXTERNAL"
    """A program of somebody else, such as a PG."""


STAFF = frozenset({ActorType.OPERATOR, ActorType.FINANCE, ActorType.ADMIN})
"""People of the installation: they see the things of every customer."""

_BY_ROLE = {
    Role.OPERATOR: ActorType.OPERATOR,
    Role.FINANCE: ActorType.FINANCE,
    Role.ADMIN: ActorType.ADMIN,
    Role.SERVICE: ActorType.SERVICE,
}
"""The role that may do most comes first."""


class Action(StrEnum):
    """What was done, in the past tense. A name is never changed: it stands in sealed entries.

    Those of dead letters are the names of the source documents."""

    PLAN_VERSION_ADDED = "PLAN_VERSION_ADDED"
    PLAN_WITHDRAWN = "PLAN_WITHDRAWN"
    CUSTOMER_CREATED = "CUSTOMER_CREATED"
    CUSTOMER_CHANGED = "CUSTOMER_CHANGED"
    PLAN_ASSIGNED = "PLAN_ASSIGNED"
    PAYMENT_METHOD_ADDED = "PAYMENT_METHOD_ADDED"
    COUPON_CREATED = "COUPON_CREATED"
    COUPON_CHANGED = "COUPON_CHANGED"
    COUPON_CLAIMED = "COUPON_CLAIMED"
    STOCK_CREATED = "STOCK_CREATED"
    STOCK_CHANGED = "STOCK_CHANGED"
    STOCK_RESOLVED = "STOCK_RESOLVED"
    ORDER_CREATED = "ORDER_CREATED"
    PAYMENT_CREATED = "PAYMENT_CREATED"
    PAYMENT_CANCEL_REQUESTED = "PAYMENT_CANCEL_REQUESTED"
    PAYMENT_RESOLVED = "PAYMENT_RESOLVED"
    REFUND_CREATED = "REFUND_CREATED"
    REFUND_RESOLVED = "REFUND_RESOLVED"
    TOP_UP_CREATED = "TOP_UP_CREATED"
    TOP_UP_BOOKED = "TOP_UP_BOOKED"
    USAGE_VOIDED = "USAGE_VOIDED"
    SETTLEMENT_STARTED = "SETTLEMENT_STARTED"
    SETTLEMENT_RUN_STARTED = "SETTLEMENT_RUN_STARTED"
    SETTLEMENT_RUN_REPLAYED = "SETTLEMENT_RUN_REPLAYED"
    INVOICE_ISSUED = "INVOICE_ISSUED"
    INVOICE_APPROVED = "INVOICE_APPROVED"
    INVOICE_REJECTED = "INVOICE_REJECTED"
    INVOICE_PAY_REQUESTED = "INVOICE_PAY_REQUESTED"
    INVOICE_PAID = "INVOICE_PAID"
    """There was nothing to pay."""
    INVOICE_PAID_OUTSIDE = "INVOICE_PAID_OUTSIDE"
    INVOICE_WRITTEN_OFF = "INVOICE_WRITTEN_OFF"
    INVOICE_CANCELLED = "INVOICE_CANCELLED"
    INVOICE_GIVEN_UP = "INVOICE_GIVEN_UP"
    GATEWAY_HURRIED = "GATEWAY_HURRIED"
    """Whoever waited for it was to ask at once."""
    DLQ_REPLAY = "DLQ_REPLAY"
    DLQ_DISCARD = "DLQ_DISCARD"
    DLQ_BULK_REPLAY_DRYRUN = "DLQ_BULK_REPLAY_DRYRUN"
    DLQ_BULK_REPLAY_START = "DLQ_BULK_REPLAY_START"
    DLQ_BULK_REPLAY_FINISH = "DLQ_BULK_REPLAY_FINISH"
    DLQ_BULK_DISCARD_DRYRUN = "DLQ_BULK_DISCARD_DRYRUN"
    DLQ_BULK_DISCARD_START = "DLQ_BULK_DISCARD_START"
    DLQ_BULK_DISCARD_FINISH = "DLQ_BULK_DISCARD_FINISH"
    DLQ_JOB_PAUSED = "DLQ_JOB_PAUSED"
    DLQ_JOB_RESUMED = "DLQ_JOB_RESUMED"
    DLQ_JOB_CANCELLED = "DLQ_JOB_CANCELLED"
    EVENTS_REPUBLISHED = "EVENTS_REPUBLISHED"
    RANKING_REBUILT = "RANKING_REBUILT"
    API_KEY_CREATED = "API_KEY_CREATED"
    API_KEY_ROTATED = "API_KEY_ROTATED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    DECISION_PROPOSED = "DECISION_PROPOSED"
    DECISION_SECONDED = "DECISION_SECONDED"
    DECISION_WITHDRAWN = "DECISION_WITHDRAWN"
    TRAIL_CUT = "TRAIL_CUT"
    """What was older than the retention was dropped, up to a seal."""
    LOGGED_IN = "LOGGED_IN"
    LOGIN_FAILED = "LOGIN_FAILED"
    """With a wrong password; noted once in ten minutes."""
    ACCOUNT_LOCKED = "ACCOUNT_LOCKED"
    ACCOUNT_UNLOCKED = "ACCOUNT_UNLOCKED"
    SESSION_REVOKED = "SESSION_REVOKED"
    USER_CREATED = "USER_CREATED"
    USER_DISABLED = "USER_DISABLED"
    USER_PASSWORD_SET = "USER_PASSWORD_SET"
    USER_ROLES_SET = "USER_ROLES_SET"
    SIGNING_KEY_ADDED = "SIGNING_KEY_ADDED"
    SIGNING_KEY_WITHDRAWN = "SIGNING_KEY_WITHDRAWN"
    DATA_VIEWED = "DATA_VIEWED"
    DATA_EXPORTED = "DATA_EXPORTED"
    BREAK_GLASS_USED = "BREAK_GLASS_USED"
    """Somebody has opened the database itself, past the API."""


class Noun(StrEnum):
    """What something was done to."""

    PRICING_PLAN = "pricing-plan"
    CUSTOMER = "customer"
    PAYMENT_METHOD = "payment-method"
    COUPON = "coupon"
    STOCK = "stock"
    ORDER = "order"
    PAYMENT = "payment"
    REFUND = "refund"
    WALLET = "wallet"
    WEBHOOK = "webhook"
    TOP_UP = "top-up"
    USAGE_EVENT = "usage-event"
    SETTLEMENT = "settlement"
    SETTLEMENT_RUN = "settlement-run"
    INVOICE = "invoice"
    DEAD_LETTER = "dead-letter"
    DEAD_LETTER_JOB = "dead-letter-job"
    PROPOSAL = "proposal"
    GATEWAY = "gateway"
    WORKFLOW = "workflow"
    TOPIC = "topic"
    RANKING = "ranking"
    API_KEY = "api-key"
    USER = "user"
    SESSION = "session"
    SIGNING_KEY = "signing-key"
    AUDIT = "audit"
    COMMAND = "command"
    REVIEW = "review"


@dataclass(frozen=True)
class Actor:
    """Who did it, and from where."""

    type: ActorType
    id: str
    source: Source = NOWHERE


@dataclass(frozen=True)
class Entry:
    """What was done to which thing. Of what was changed only the fields that were, before and
    after: no card data and no secret."""

    actor: Actor
    action: Action
    noun: Noun
    target_id: str
    customer_id: str | None = None
    before: Mapping[str, JSON] | None = None
    after: Mapping[str, JSON] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class AuditEntry:
    """An entry as it is kept. `action` and `noun` are what was written, whatever there is now."""

    id: int
    xid: int
    at: datetime
    actor_type: str
    actor_id: str
    ip: str | None
    user_agent: str | None
    trace_id: str | None
    request_id: str | None
    action: str
    noun: str
    target_id: str
    customer_id: str | None
    before: Mapping[str, JSON] | None
    after: Mapping[str, JSON] | None
    reason: str | None
    viewed_from: datetime | None


@dataclass(frozen=True)
class Wanted:
    """Which entries somebody looks for; what is None does not matter. `until` is not included."""

    action: str | None = None
    actor_id: str | None = None
    noun: str | None = None
    target_id: str | None = None
    customer_id: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def actor(access: Access) -> Actor:
    """Whoever asks, as the trail names them: by the most that they may do."""
    kinds = (kind for role, kind in _BY_ROLE.items() if role in access.roles)
    return Actor(next(kinds, ActorType.USER), access.caller, access.source)


def system(workflow_id: str) -> Actor:
    """A workflow of ours, which decides what nobody was asked about."""
    return Actor(ActorType.SYSTEM, workflow_id)


def changed(
    before: Mapping[str, JSON], after: Mapping[str, JSON]
) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """The fields that differ, as they were and as they are."""
    names = [name for name in after if name not in before or before[name] != after[name]]
    return {name: before[name] for name in names if name in before}, {
        name: after[name] for name in names
    }


LOWEST = -(2**63)
"""Below every transaction and every id, also one that somebody has made up."""


@dataclass(frozen=True)
class Seal:
    """The nth link of the chain: its hash is of the one before it and of all entries since then, in
    the order of their transactions' numbers and their own. Nothing commits before a place in that
    order once every transaction that was under way has ended.

    In a cluster into which the data were restored, transactions are counted anew. Its entries are a
    segment of their own, all those with ids from `from_id` on; `highest_id` is the highest that was
    sealed so far.
    """

    n: int
    from_id: int
    last_xid: int
    last_id: int
    highest_id: int
    count: int
    hash: bytes
    sealed_at: datetime | None = field(default=None, compare=False)

    @property
    def anchor(self) -> str:
        """What is kept elsewhere: with it a tail that was cut off is missed, and a chain that was
        made anew is told from this one."""
        return f"{self.n}:{self.hash.hex()}"

    def anew(self) -> "Seal":
        """Where the next segment begins."""
        return replace(self, from_id=self.highest_id + 1, last_xid=LOWEST, last_id=LOWEST)


GENESIS = Seal(0, LOWEST, LOWEST, LOWEST, LOWEST, 0, bytes(32))
"""What the first seal follows."""


@dataclass(frozen=True)
class Break:
    """A seal that does not hold; `wrong` is a sentence."""

    n: int
    wrong: str


def sealed(previous: Seal, entries: Sequence[AuditEntry]) -> Seal:
    """The seal of these entries, which follow those of the one before it."""
    digest = hashlib.sha256(previous.hash)
    for entry in entries:
        text = canonical(entry)
        digest.update(len(text).to_bytes(8, "big") + text)
    return Seal(
        n=previous.n + 1,
        from_id=previous.from_id,
        last_xid=entries[-1].xid,
        last_id=entries[-1].id,
        highest_id=max(previous.highest_id, *(entry.id for entry in entries)),
        count=len(entries),
        hash=digest.digest(),
    )


LEAST = timedelta(days=365)
"""What is younger is never dropped, whatever a retention says; the database refuses it, too."""
TRAIL = "trail"
"""The trail itself, as something that is looked at or cut off."""


def cut_off(by: Actor, seed: Seal, before: datetime, reason: str) -> Entry:
    """The entry that says up to which seal the trail was dropped. That seal stays: the next one
    follows it."""
    after: dict[str, JSON] = {
        "seal": seed.n,
        "hash": seed.hash.hex(),
        "before": before.astimezone(UTC).isoformat(),
    }
    return Entry(by, Action.TRAIL_CUT, Noun.AUDIT, TRAIL, after=after, reason=reason)


def cuts_at(cut: AuditEntry | None, seal: Seal) -> bool:
    """Whether this is the entry that says that the trail was dropped up to there."""
    return cut is not None and (cut.after or {}).get("seal") == seal.n


def wrongly_begun(first: Seal, cut: AuditEntry | None, left_over: int) -> Iterator[Break]:
    """Where a trail does not begin as it may: with the first seal there ever was, or with the one
    that an entry names which was old enough then. `left_over`: entries at or before that one."""
    if not cuts_at(cut, first):
        if first.n != 1:
            yield Break(first.n, "The seals before it are missing, and no entry says why.")
        return
    assert cut is not None
    said = cut.after or {}
    before = datetime.fromisoformat(str(said["before"]))
    if said["hash"] != first.hash.hex():
        yield Break(first.n, "It is not the seal at which the trail was cut off.")
    if before > cut.at - LEAST or first.sealed_at is None or first.sealed_at >= before:
        yield Break(first.n, "The trail was cut off where it was too young for that.")
    if left_over:
        yield Break(first.n, f"{left_over} entries stand before the place of the cut.")


CHAIN = "a0d17000-0000-7000-8000-000000000000"
"""The aggregate of the events about seals: there is one chain."""


def sealed_event(seal: Seal) -> Event:
    """The anchor of a seal: what consumers have of it nobody here can take back."""
    data: dict[str, JSON] = {
        "seal": seal.n,
        "hash": seal.hash.hex(),
        "entries": seal.count,
        "lastEntry": seal.last_id,
    }
    return Event(Topic.AUDIT_SEALED, CHAIN, "", data, Origin())


def canonical(entry: AuditEntry) -> bytes:
    """Every field of it in one form only, whoever reads it, in whatever time zone."""
    return json.dumps(
        asdict(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_moment
    ).encode()


def _moment(value: Any) -> str:
    moment: datetime = value
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def breaks(previous: Seal, seals: Sequence[Seal], entries: Sequence[AuditEntry]) -> Iterator[Break]:
    """Where seals of one segment do not hold, with all the entries there are after the one before
    them, in order. Each is taken for what the next one follows, so that one break is told once."""
    at = 0
    for seal in seals:
        begins = at
        while at < len(entries) and _place(entries[at]) <= (seal.last_xid, seal.last_id):
            at += 1
        if seal.n != previous.n + 1:
            yield Break(seal.n, f"The seal {previous.n + 1} is missing.")
        elif begins == at:
            yield Break(seal.n, "Its entries are missing.")
        elif sealed(previous, entries[begins:at]) != seal:
            yield Break(seal.n, "It is not that of its entries and of the seal before it.")
        previous = seal
    if at < len(entries):
        yield Break(previous.n, f"After it come {len(entries) - at} entries that no seal has.")


def _place(entry: AuditEntry) -> tuple[int, int]:
    return entry.xid, entry.id


_ANCHOR = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}", re.ASCII)


def is_anchor(text: str) -> bool:
    """Whether this has the form of `Seal.anchor`."""
    return _ANCHOR.fullmatch(text) is not None


def unlike(anchor: str, seal: Seal | None) -> Break | None:
    """Whether the seal that an anchor names is still the one that was there."""
    number, _, digest = anchor.partition(":")
    kept = int(number), bytes.fromhex(digest)
    if seal is None:
        return Break(kept[0], "It was anchored, and is missing.")
    if (seal.n, seal.hash) != kept:
        return Break(kept[0], "It is not the one that was anchored.")
    return None
