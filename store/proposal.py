"""Decisions that wait for a second person."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, Uuid, and_, case, cast, func, insert, or_, select, update

from domain.proposal import WAITS_WHILE, Decision, Kind, Proposal, ProposalStatus
from store.clock import NOW
from store.database import Transaction
from store.tables import invoices, proposals

_WAITS = proposals.c.status == ProposalStatus.PROPOSED
_INVOICE = case(
    (proposals.c.kind.in_(WAITS_WHILE), cast(proposals.c.target_id, Uuid(as_uuid=False)))
)
_THINGS = proposals.outerjoin(invoices, invoices.c.id == _INVOICE)
_THERE = or_(
    proposals.c.kind.not_in(WAITS_WHILE),
    *(
        and_(proposals.c.kind == kind, invoices.c.status.in_(waits))
        for kind, waits in WAITS_WHILE.items()
    ),
)
"""What it is about has not ended meanwhile."""


async def lock(tx: Transaction, decision: Decision) -> None:
    """To the commit: of those who want the same one is heard after the other."""
    name = func.hashtextextended(f"proposal/{decision.digest.hex()}", 0)
    await tx.execute(select(func.pg_advisory_xact_lock(name)))


async def latest(tx: Transaction, decision: Decision) -> Proposal | None:
    """The last one of this decision, whatever became of it; locked to the commit."""
    query = select(proposals).where(proposals.c.digest == decision.digest)
    last = query.order_by(proposals.c.id.desc()).limit(1).with_for_update()
    row = (await tx.execute(last)).first()
    return None if row is None else _proposal(row)


async def add(
    tx: Transaction, id_: str, decision: Decision, by: str, reason: str | None, until: datetime
) -> Proposal:
    row = insert(proposals).values(
        id=id_,
        kind=decision.kind,
        target_id=decision.target_id,
        what=decision.what,
        content=dict(decision.content),
        digest=decision.digest,
        reason=reason,
        proposed_by=by,
        holds_until=until,
    )
    return _proposal((await tx.execute(row.returning(proposals))).one())


async def end(tx: Transaction, id_: str, how: ProposalStatus, by: str) -> bool:
    """Seconded or withdrawn; False when it waits no more."""
    ended = await tx.execute(
        update(proposals)
        .where(proposals.c.id == id_, _WAITS, proposals.c.holds_until > NOW)
        .values(status=how, ended_by=by, ended_at=NOW)
    )
    return ended.rowcount == 1


async def find(tx: Transaction, id_: str) -> Proposal | None:
    row = (await tx.execute(select(proposals).where(proposals.c.id == id_))).first()
    return None if row is None else _proposal(row)


async def waiting(tx: Transaction, after: str | None, limit: int) -> list[Proposal]:
    """Those that somebody can still agree to, oldest first, behind that id."""
    still = (_WAITS, _THERE, proposals.c.holds_until > NOW)
    query = select(proposals).select_from(_THINGS).where(*still)
    if after is not None:
        query = query.where(proposals.c.id > after)
    rows = await tx.execute(query.order_by(proposals.c.id).limit(limit))
    return [_proposal(row) for row in rows]


async def count_waiting(tx: Transaction) -> tuple[int, datetime | None]:
    """How many wait, and since when the first of them does."""
    query = select(func.count(), func.min(proposals.c.proposed_at))
    row = (await tx.execute(query.where(_WAITS, proposals.c.holds_until > NOW))).one()
    return row[0], row[1]


def _proposal(row: Row[Any]) -> Proposal:
    return Proposal(
        id=row.id,
        kind=Kind(row.kind),
        target_id=row.target_id,
        what=row.what,
        content=row.content,
        status=ProposalStatus(row.status),
        reason=row.reason,
        proposed_by=row.proposed_by,
        proposed_at=row.proposed_at,
        holds_until=row.holds_until,
        ended_by=row.ended_by,
    )
