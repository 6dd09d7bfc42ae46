"""Jobs over many dead letters: what was seen before, which letters they have, how far they are."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, Text, cast, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.audit import Actor
from domain.dead_letter import (
    UNDER_WAY,
    ItemState,
    Job,
    JobItem,
    JobOrder,
    JobState,
    LetterSource,
    Operation,
    RunningJob,
    Wanted,
)
from store.database import Transaction
from store.dead_letter import open_matching
from store.identifier import new_id
from store.seen import SNAPSHOT
from store.tables import dead_letter_job_items as items
from store.tables import dead_letter_jobs as jobs
from store.tables import dead_letters

SAMPLE = 10
DRY_RUN_LASTS = timedelta(hours=1)
"""So long what was seen bounds the job that follows."""

_ACTOR = TypeAdapter(Actor)
_CALLED = func.coalesce(dead_letters.c.message_id, cast(dead_letters.c.id, Text))


async def snapshot(tx: Transaction) -> str:
    """What this transaction sees."""
    return str((await tx.execute(select(SNAPSHOT))).scalar_one())


async def count(tx: Transaction, wanted: Wanted, seen: str) -> int:
    """How many letters are open now and could be seen then."""
    return int(await tx.scalar(open_matching(wanted, seen, func.count())) or 0)


async def sample(tx: Transaction, wanted: Wanted, seen: str) -> list[str]:
    """The names of the oldest of them."""
    query = open_matching(wanted, seen, _CALLED).order_by(dead_letters.c.position)
    return list((await tx.execute(query.limit(SAMPLE))).scalars())


async def note_dry_run(
    tx: Transaction, operation: Operation, wanted: Wanted, by: Actor, seen: str
) -> None:
    """Of each person the last one counts, for each question."""
    row = upsert(jobs).values(
        id=new_id(),
        operation=operation,
        source=wanted.source,
        wanted=wanted.as_json(),
        actor=asdict(by),
        actor_id=by.id,
        snapshot=seen,
        state=JobState.DRY_RUN,
    )
    again = row.on_conflict_do_update(
        index_elements=["actor_id", "operation", "wanted"],
        index_where=jobs.c.state == literal(JobState.DRY_RUN, Text, literal_execute=True),
        set_={"snapshot": row.excluded.snapshot, "started_at": func.now()},
    )
    await tx.execute(again)


async def seen_before(
    tx: Transaction, operation: Operation, wanted: Wanted, by: Actor
) -> str | None:
    """What this person saw in the dry run before; None where there was none of late."""
    query = select(jobs.c.snapshot).where(
        jobs.c.state == JobState.DRY_RUN,
        jobs.c.actor_id == by.id,
        jobs.c.operation == operation,
        jobs.c.wanted == wanted.as_json(),
        jobs.c.started_at > func.now() - DRY_RUN_LASTS,
    )
    found: str | None = await tx.scalar(query)
    return found


async def lock(tx: Transaction) -> None:
    """Jobs begin one after the other, so that two never share their letters."""
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("dlq-jobs", 0))))


async def under_way(
    tx: Transaction, operation: Operation, source: LetterSource | None
) -> str | None:
    """A job that may have the same letters: one of no source has those of each."""
    query = select(jobs.c.id).where(jobs.c.state.in_(UNDER_WAY), jobs.c.operation == operation)
    if source is not None:
        query = query.where(or_(jobs.c.source == source, jobs.c.source.is_(None)))
    found: str | None = await tx.scalar(query.limit(1))
    return found


async def begin(
    tx: Transaction,
    id_: str,
    operation: Operation,
    wanted: Wanted,
    by: Actor,
    reason: str | None,
    seen: str,
) -> int:
    """Make the job with its letters, which stay the same from now on; returns how many."""
    await tx.execute(
        insert(jobs).values(
            id=id_,
            operation=operation,
            source=wanted.source,
            wanted=wanted.as_json(),
            reason=reason,
            actor=asdict(by),
            actor_id=by.id,
            snapshot=seen,
            state=JobState.RUNNING,
        )
    )
    job_id = literal(id_, jobs.c.id.type)
    letters = open_matching(wanted, seen, job_id, dead_letters.c.id, dead_letters.c.position)
    frozen = insert(items).from_select(["job_id", "letter_id", "position"], letters)
    total = (await tx.execute(frozen)).rowcount
    await tx.execute(update(jobs).where(jobs.c.id == id_).values(total=total))
    return total


async def find(tx: Transaction, id_: str) -> Job | None:
    """As it stands."""
    query = select(jobs).where(jobs.c.id == id_, jobs.c.state != JobState.DRY_RUN)
    row = (await tx.execute(query)).first()
    return None if row is None else await _job(tx, row)


async def order(tx: Transaction, id_: str) -> JobOrder:
    """What is to be done with each of its letters, and who wants it."""
    query = select(jobs.c.operation, jobs.c.actor, jobs.c.reason).where(jobs.c.id == id_)
    row = (await tx.execute(query)).one()
    return JobOrder(Operation(row.operation), _ACTOR.validate_python(row.actor), row.reason)


async def lock_one(tx: Transaction, id_: str) -> JobState | None:
    """How it stands, until the commit; None where there is none."""
    query = select(jobs.c.state).where(jobs.c.id == id_, jobs.c.state != JobState.DRY_RUN)
    found: str | None = await tx.scalar(query.with_for_update())
    return None if found is None else JobState(found)


async def hold(tx: Transaction, id_: str) -> JobState:
    """The same beside others of its letters: it neither pauses nor ends before the commit."""
    query = select(jobs.c.state).where(jobs.c.id == id_).with_for_update(read=True)
    return JobState((await tx.execute(query)).scalar_one())


async def move(tx: Transaction, id_: str, after: JobState, reason: str | None = None) -> None:
    """To be called under its lock."""
    values: dict[str, Any] = {"state": after, "state_reason": reason}
    if after is JobState.RUNNING:
        values["watched_from"] = func.clock_timestamp()
    elif after not in UNDER_WAY:
        values["finished_at"] = func.now()
    await tx.execute(update(jobs).where(jobs.c.id == id_).values(**values))


async def pending(tx: Transaction, id_: str, limit: int) -> list[str]:
    """The letters that are next, in the order in which they came."""
    query = select(items.c.letter_id).where(
        items.c.job_id == id_, items.c.state == ItemState.PENDING
    )
    return list((await tx.execute(query.order_by(items.c.position).limit(limit))).scalars())


async def take(tx: Transaction, id_: str, letter_id: str) -> bool:
    """Lock a letter of the job; False when it is done already."""
    query = select(items.c.letter_id).where(
        items.c.job_id == id_, items.c.letter_id == letter_id, items.c.state == ItemState.PENDING
    )
    return await tx.scalar(query.with_for_update()) is not None


async def done(tx: Transaction, id_: str, letter_id: str, error: str | None) -> None:
    """With what came of it."""
    this = (items.c.job_id == id_) & (items.c.letter_id == letter_id)
    state = ItemState.DONE if error is None else ItemState.FAILED
    values = {"state": state, "error": error, "done_at": func.clock_timestamp()}
    await tx.execute(update(items).where(this).values(**values))


async def came_back(tx: Transaction, id_: str) -> tuple[int, int]:
    """Of the letters that were replayed since somebody last looked: how many, and how many of them
    have failed again."""
    watched = select(jobs.c.watched_from).where(jobs.c.id == id_).scalar_subquery()
    back = select(dead_letters.c.id).where(dead_letters.c.replay_of == items.c.letter_id).exists()
    query = select(func.count(), func.count().filter(back)).where(
        items.c.job_id == id_, items.c.state == ItemState.DONE, items.c.done_at >= watched
    )
    replayed, again = (await tx.execute(query)).one()
    return replayed, again


async def page(
    tx: Transaction, id_: str, state: ItemState | None, after: int, limit: int
) -> list[tuple[int, JobItem]]:
    """Its letters with their positions, in the order in which they came."""
    query = (
        select(items, _CALLED.label("called"))
        .join_from(items, dead_letters)
        .where(items.c.job_id == id_, items.c.position > after)
        .order_by(items.c.position)
        .limit(limit)
    )
    if state is not None:
        query = query.where(items.c.state == state)
    return [(row.position, _item(row)) for row in await tx.execute(query)]


async def running_since(
    tx: Transaction, before: datetime, after: str | None, limit: int
) -> list[RunningJob]:
    """Those that should be at work since then, in the order of their ids."""
    query = select(jobs.c.id).where(
        jobs.c.state.in_(UNDER_WAY), jobs.c.state == JobState.RUNNING, jobs.c.watched_from < before
    )
    if after is not None:
        query = query.where(jobs.c.id > after)
    rows = await tx.execute(query.order_by(jobs.c.id).limit(limit))
    return [RunningJob(row.id) for row in rows]


async def _job(tx: Transaction, row: Row[Any]) -> Job:
    of_job = items.c.job_id == row.id
    counted = select(items.c.state, func.count()).where(of_job).group_by(items.c.state)
    counts: dict[str, int] = {each.state: each[1] for each in await tx.execute(counted)}
    first = (
        select(items.c.error)
        .where(of_job, items.c.state == ItemState.FAILED)
        .order_by(items.c.done_at, items.c.position)
        .limit(1)
    )
    _, back = await came_back(tx, row.id)
    return Job(
        id=row.id,
        operation=Operation(row.operation),
        wanted=row.wanted,
        source=None if row.source is None else LetterSource(row.source),
        reason=row.reason,
        state=JobState(row.state),
        state_reason=row.state_reason,
        started_by=row.actor_id,
        total=row.total,
        succeeded=counts.get(ItemState.DONE, 0),
        failed=counts.get(ItemState.FAILED, 0),
        came_back=back,
        first_error=await tx.scalar(first),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _item(row: Row[Any]) -> JobItem:
    return JobItem(
        letter_id=row.letter_id,
        called=row.called,
        state=ItemState(row.state),
        error=row.error,
        done_at=row.done_at,
    )
