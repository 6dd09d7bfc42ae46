"""Dead letters: finding what could not be done, and putting it right, one or many at once."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.service import RPCError

from activities.dead_letter import DECIDE
from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.dead_letter import (
    DRY_RUN,
    START,
    UNDER_WAY,
    DeadLetter,
    ItemState,
    Job,
    JobItem,
    JobState,
    LetterHead,
    LetterSource,
    LetterState,
    Operation,
    Stats,
    Wanted,
    buckets,
    require_expected,
)
from domain.errors import IllegalDlqOperation, InvalidRequest, JobRunning, NotFound
from domain.event import JSON
from domain.proposal import Proposal
from domain.terms import Terms
from service import proposal
from service.audit import looked_through, viewed
from service.desk import Desk
from service.page import Ascent
from service.starts import start_dead_letter_job, start_settlement
from store import audit, clock, dead_letter, dead_letter_job
from store.database import Transaction
from store.identifier import new_id
from store.page import Page, Place
from workflows.invoice_retry import InvoiceRetry

DAY = timedelta(days=1)
ASK_SECONDS = 2
"""How long the owner of an invoice is waited for; the sweeper asks again."""

log = structlog.get_logger()


async def listed(
    desk: Desk,
    access: Access,
    wanted: Wanted,
    state: LetterState | None,
    place: Place | None,
    limit: int,
) -> Page[LetterHead]:
    """The letters below a place, newest first."""
    async with desk.database.read(access.scope) as tx:
        found = await dead_letter.listed(tx, wanted, state, place, limit)
    await looked_through(desk, access, Noun.DEAD_LETTER, wanted.customer_id)
    return found


async def get(desk: Desk, access: Access, called: str) -> DeadLetter:
    """All of it, by its place or its id; that somebody looks is noted. Raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        letter = await _found(tx, called)
    await viewed(desk, access, Noun.DEAD_LETTER, letter.id, letter.customer_id)
    return letter


async def replay(desk: Desk, access: Access, called: str) -> DeadLetter:
    """Have it done once more. Raises `NotFound`, and `IllegalDlqOperation` where somebody was here
    before."""
    letter = await _decide(desk, access, called, Operation.REPLAY, None)
    await ask_again(desk.temporal, desk.terms, letter)
    async with desk.database.read(access.scope) as tx:
        return await _found(tx, letter.id)


async def discard(desk: Desk, access: Access, called: str, reason: str) -> DeadLetter:
    """Nothing will come of it; it stays to be seen. Raises as `replay` does."""
    return await _decide(desk, access, called, Operation.DISCARD, reason)


async def _decide(
    desk: Desk, access: Access, called: str, what: Operation, reason: str | None
) -> DeadLetter:
    async with desk.database.begin(access.scope) as tx:
        letter = await dead_letter.find(tx, called, lock=True)
        if letter is None:
            raise _unknown(called)
        await DECIDE[what](tx, letter, actor(access), reason)
        return await _found(tx, letter.id)


async def ask_again(client: Client, terms: Terms, letter: LetterHead) -> None:
    """Have the owner of a thing of ours try once more what it gave up. Asked twice it does so once;
    what does not come through now, the sweeper says again."""
    if letter.reference is None:
        return
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await _ask(client, terms, letter, letter.reference)
    except WorkflowUpdateFailedError:
        log.info("nobody waits for this replay any more", id=letter.id)
    except (RPCError, RuntimeError, TimeoutError) as error:
        log.warning("a replay waits for the sweeper", id=letter.id, error=error)


async def _ask(client: Client, terms: Terms, letter: LetterHead, reference: str) -> None:
    if letter.source is LetterSource.SETTLEMENT:
        _, customer_id, period = reference.split("/")
        await start_settlement(client, terms.settlement(customer_id, period))
        return
    await client.get_workflow_handle(reference).start_update(
        InvoiceRetry.pay,
        None,
        id=f"dlq/{letter.id}",
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
    )


# Many at once.


@dataclass(frozen=True)
class Bulk:
    """What many letters come to: only counted, or a job that works on them."""

    count: int
    sample: list[str]
    job: Job | None


async def dry_run(desk: Desk, access: Access, what: Operation, wanted: Wanted) -> Bulk:
    """Which letters a job would have. The one that this caller starts within the hour, for the same
    question, has no others."""
    by = actor(access)
    async with desk.database.begin(access.scope) as tx:
        now = await dead_letter_job.snapshot(tx)
        count = await dead_letter_job.count(tx, wanted, now)
        sample = await dead_letter_job.sample(tx, wanted, now)
        await dead_letter_job.note_dry_run(tx, what, wanted, by, now)
        about: dict[str, JSON] = {"wanted": wanted.as_json(), "estimatedCount": count}
        entry = Entry(by, DRY_RUN[what], Noun.DEAD_LETTER_JOB, "-", wanted.customer_id, after=about)
        await audit.append(tx, entry)
    return Bulk(count, sample, None)


async def start_job(
    desk: Desk,
    access: Access,
    what: Operation,
    wanted: Wanted,
    reason: str | None,
    expected: int | None,
) -> Bulk:
    """Begin a job for the letters that the dry run before has seen; without one, for those that are
    there. Raises `InvalidRequest` for a question that names nothing, `JobRunning`,
    `IllegalDlqOperation`, and `SecondPersonNeeded` where they are too many for one person."""
    if wanted.is_everything:
        raise InvalidRequest("Say which dead letters you mean: at least one filter is needed.")
    async with desk.database.begin(access.scope) as tx:
        await dead_letter_job.lock(tx)
        if other := await dead_letter_job.under_way(tx, what, wanted.source):
            raise JobRunning(f"The job {other} is under way: wait for it, or cancel it.")
        seen_then = await dead_letter_job.seen_before(tx, what, wanted, actor(access))
        seen_then = seen_then or await dead_letter_job.snapshot(tx)
        count = await dead_letter_job.count(tx, wanted, seen_then)
        require_expected(expected, count)
        large = desk.terms.second.dead_letter_job(what, wanted, count)
        agreed = await proposal.decided(tx, desk, access, large, reason)
        begun: Bulk | Proposal = (
            agreed
            if isinstance(agreed, Proposal)
            else await _begin(tx, access, what, wanted, reason, seen_then)
        )
    made = proposal.carried_out(begun)
    assert made.job is not None
    await _set_to_work(desk, made.job.id)
    return made


async def _begin(
    tx: Transaction,
    access: Access,
    what: Operation,
    wanted: Wanted,
    reason: str | None,
    seen_then: str,
) -> Bulk:
    by, job_id = actor(access), new_id()
    sample = await dead_letter_job.sample(tx, wanted, seen_then)
    count = await dead_letter_job.begin(tx, job_id, what, wanted, by, reason, seen_then)
    about: dict[str, JSON] = {"wanted": wanted.as_json(), "totalCount": count}
    noun, whose = Noun.DEAD_LETTER_JOB, wanted.customer_id
    entry = Entry(by, START[what], noun, job_id, whose, after=about, reason=reason)
    await audit.append(tx, entry)
    return Bulk(count, sample, await _job(tx, job_id))


async def job(desk: Desk, access: Access, job_id: str) -> Job:
    """As it stands. Raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        return await _job(tx, job_id)


async def job_items(
    desk: Desk,
    access: Access,
    job_id: str,
    state: ItemState | None,
    place: Ascent | None,
    limit: int,
) -> tuple[list[JobItem], Ascent | None]:
    """Its letters behind a place, and the place behind them; None at the end."""
    async with desk.database.read(access.scope) as tx:
        await _job(tx, job_id)
        rows = await dead_letter_job.page(tx, job_id, state, place.last if place else 0, limit)
    following = Ascent(rows[-1][0]) if len(rows) == limit else None
    return [item for _, item in rows], following


_TURNS = {
    JobState.PAUSED: ((JobState.RUNNING,), Action.DLQ_JOB_PAUSED),
    JobState.RUNNING: ((JobState.PAUSED,), Action.DLQ_JOB_RESUMED),
    JobState.CANCELLED: (UNDER_WAY, Action.DLQ_JOB_CANCELLED),
}
"""From where a job may get there, and what it is called in the audit trail."""


async def turn_job(desk: Desk, access: Access, job_id: str, after: JobState) -> Job:
    """Pause it, let it go on, or give up what is left of it: from the commit on, whoever works.

    Raises `NotFound`, and `IllegalDlqOperation` where it does not stand so.
    """
    before, what = _TURNS[after]
    async with desk.database.begin(access.scope) as tx:
        state = await dead_letter_job.lock_one(tx, job_id)
        if state is None:
            raise NotFound(f"There is no job {job_id}.")
        if state not in before:
            raise IllegalDlqOperation(f"The job is {state}.")
        await dead_letter_job.move(tx, job_id, after)
        change: dict[str, JSON] = {"state": after}
        entry = Entry(
            actor(access),
            what,
            Noun.DEAD_LETTER_JOB,
            job_id,
            before={"state": state},
            after=change,
        )
        await audit.append(tx, entry)
        turned = await _job(tx, job_id)
    if after is JobState.RUNNING:
        await _set_to_work(desk, job_id)
    return turned


async def _set_to_work(desk: Desk, job_id: str) -> None:
    """What Temporal does not hear now, the sweeper says again."""
    try:
        async with asyncio.timeout(desk.wait_seconds + 1):
            await start_dead_letter_job(desk.temporal, desk.terms.dead_letter_job(job_id))
    except (RPCError, RuntimeError, TimeoutError) as error:
        log.warning("a job waits for the sweeper", id=job_id, error=error)


# How many, when.


async def stats(desk: Desk, access: Access, wanted: Wanted, bucket: timedelta) -> Stats:
    """How many letters came, whatever became of them; of the last day where nothing else is said.
    Raises `InvalidRequest`."""
    async with desk.database.read(access.scope) as tx:
        until = wanted.until or await clock.now(tx)
        since = wanted.since or until - DAY
        begins = list(buckets(since, until, bucket))
        within = replace(wanted, since=since, until=until)
        counts = await dead_letter.count_by_bucket(tx, within, since, bucket)
        found = Stats(
            since=since,
            until=until,
            bucket=bucket,
            by_bucket=[(each, counts.get(each, 0)) for each in begins],
            by_source=await dead_letter.count_by(tx, within, "source"),
            by_error_class=await dead_letter.count_by(tx, within, "error_class"),
            by_customer=await dead_letter.count_by(tx, within, "customer_id"),
        )
    await looked_through(desk, access, Noun.DEAD_LETTER, wanted.customer_id)
    return found


async def _found(tx: Transaction, called: str) -> DeadLetter:
    letter = await dead_letter.find(tx, called)
    if letter is None:
        raise _unknown(called)
    return letter


def _unknown(called: str) -> NotFound:
    return NotFound(f"There is no dead letter {called[:200]}.")


async def _job(tx: Transaction, job_id: str) -> Job:
    found = await dead_letter_job.find(tx, job_id)
    if found is None:
        raise NotFound(f"There is no job {job_id}.")
    return found
