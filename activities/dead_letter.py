"""Deciding about dead letters: one transaction a letter, whether somebody points at it or a job
comes to it."""

from temporalio import activity

from domain.access import SYSTEM
from domain.audit import Actor, Entry, Noun, system
from domain.dead_letter import (
    FINISH,
    SINGLE,
    DeadLetter,
    JobBatch,
    JobLetter,
    JobPage,
    JobState,
    LetterState,
    Operation,
    again,
    comes_back_too_often,
    ended,
    require_open,
    require_replayable,
)
from domain.errors import IllegalDlqOperation
from domain.event import JSON
from domain.workflow_id import dead_letter_job_workflow_id
from store import audit, dead_letter, dead_letter_job, outbox
from store.database import Database, Transaction

TOO_OFTEN = "{again} of {replayed} letters have failed again: mend the cause, then resume."


async def replay(
    tx: Transaction, letter: DeadLetter, by: Actor, reason: str | None, job_id: str | None = None
) -> None:
    """Have a locked letter done once more: it, what is sent, and who wanted it, or nothing.

    A message leaves through the outbox. A thing of our own is asked for by whoever called this, or
    by the sweeper. Raises `IllegalDlqOperation` where somebody was here before.
    """
    require_replayable(letter)
    await _move(tx, letter, LetterState.REPLAYING, by, reason, job_id)
    if letter.reference is None:
        topic, whose = letter.original_topic or "", letter.customer_id or ""
        await outbox.append_raw(tx, letter.id, whose, topic, again(letter))
    await audit.append(tx, _decided(letter, Operation.REPLAY, by, reason, job_id))


async def discard(
    tx: Transaction, letter: DeadLetter, by: Actor, reason: str | None, job_id: str | None = None
) -> None:
    """Nothing will come of a locked letter; it stays to be seen. Raises as `replay` does."""
    require_open(letter)
    await _move(tx, letter, LetterState.DISCARDED, by, reason, job_id)
    await audit.append(tx, _decided(letter, Operation.DISCARD, by, reason, job_id))


DECIDE = {Operation.REPLAY: replay, Operation.DISCARD: discard}


class DeadLetterActivities:
    """What a job does. Safe to run any number of times: a letter that is done is passed over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="dead_letter.next")
    async def next(self, page: JobPage) -> JobBatch:
        """The letters that are next; where none is left, or too many have come back, the job ends
        or pauses."""
        async with self._database.begin(SYSTEM) as tx:
            state = await dead_letter_job.lock_one(tx, page.job_id)
            if state is not JobState.RUNNING:
                return JobBatch(state or JobState.CANCELLED)
            replayed, back = await dead_letter_job.came_back(tx, page.job_id)
            if comes_back_too_often(replayed, back):
                why = TOO_OFTEN.format(again=back, replayed=replayed)
                await dead_letter_job.move(tx, page.job_id, JobState.PAUSED, why)
                return JobBatch(JobState.PAUSED)
            letters = await dead_letter_job.pending(tx, page.job_id, page.limit)
            if letters:
                return JobBatch(JobState.RUNNING, tuple(letters))
            return JobBatch(await _finish(tx, page.job_id))

    @activity.defn(name="dead_letter.decide")
    async def decide(self, one: JobLetter) -> None:
        """Do with one letter what the job is for, and note what came of it. Once the job is paused
        or cancelled nothing happens any more."""
        async with self._database.begin(SYSTEM) as tx:
            if await dead_letter_job.hold(tx, one.job_id) is not JobState.RUNNING:
                return
            if not await dead_letter_job.take(tx, one.job_id, one.letter_id):
                return
            job = await dead_letter_job.order(tx, one.job_id)
            letter = await dead_letter.find(tx, one.letter_id, lock=True)
            assert letter is not None, "a letter is never deleted"
            error = None
            try:
                await DECIDE[job.operation](tx, letter, job.by, job.reason, one.job_id)
            except IllegalDlqOperation as refusal:
                error = str(refusal)
            await dead_letter_job.done(tx, one.job_id, one.letter_id, error)


async def _move(
    tx: Transaction,
    letter: DeadLetter,
    after: LetterState,
    by: Actor,
    reason: str | None,
    job_id: str | None,
) -> None:
    moved = await dead_letter.move(tx, letter.id, LetterState.OPEN, after, reason, by.id, job_id)
    assert moved, "it is locked"


def _decided(
    letter: DeadLetter, what: Operation, by: Actor, reason: str | None, job_id: str | None
) -> Entry:
    about: dict[str, JSON] = {"messageId": letter.called, "originalTopic": letter.original_topic}
    if job_id is not None:
        about["jobId"] = job_id
    return Entry(
        by,
        SINGLE[what],
        Noun.DEAD_LETTER,
        letter.id,
        letter.customer_id,
        after=about,
        reason=reason,
    )


async def _finish(tx: Transaction, job_id: str) -> JobState:
    job = await dead_letter_job.find(tx, job_id)
    assert job is not None
    state = ended(job.succeeded, job.failed)
    await dead_letter_job.move(tx, job_id, state)
    counts: dict[str, JSON] = {
        "state": state,
        "successCount": job.succeeded,
        "failureCount": job.failed,
    }
    who = system(dead_letter_job_workflow_id(job_id))
    what, noun = FINISH[job.operation], Noun.DEAD_LETTER_JOB
    await audit.append(tx, Entry(who, what, noun, job_id, after=counts, reason=job.reason))
    return state
