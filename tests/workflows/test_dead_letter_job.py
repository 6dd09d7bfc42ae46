"""A job over many dead letters: its letters are those that were there, each is done once, whoever
dies, and it stops itself where what it does is in vain."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities.dead_letter import DeadLetterActivities
from dev import process
from domain.access import SYSTEM
from domain.dead_letter import (
    FEW,
    JobLetter,
    JobPage,
    JobRequest,
    LetterSource,
    Operation,
    Wanted,
    from_topic,
)
from domain.message import Message
from domain.terms import Terms
from domain.workflow_id import dead_letter_job_workflow_id
from runtime import sweeper
from runtime.settings import Settings
from service.starts import start_dead_letter_job
from store import clock, dead_letter, dead_letter_job
from tests.api.documents import refused
from tests.support.audit import SOMEBODY, trail
from tests.support.conditions import eventually, patience
from tests.support.letters import DLQ, Letters, idle_letters_on, letters_on, many
from tests.support.relays import relay_bed
from tests.support.samples import new_customer, new_id

ENDED = ("SUCCEEDED", "PARTIAL_FAILURE", "FAILED")


@pytest.fixture(scope="module")
async def letters(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    async with (
        relay_bed(settings, tmp_path_factory.mktemp("jobs")) as bed,
        letters_on(bed) as made,
    ):
        yield made


@pytest.fixture(scope="module")
async def idle(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    """The same without a worker: what is done then, the test does."""
    async with (
        relay_bed(settings, tmp_path_factory.mktemp("idle")) as bed,
        idle_letters_on(bed) as made,
    ):
        yield made


async def states(letters: Letters, ids: list[str]) -> list[str | None]:
    return [await letters.state(id_) for id_ in ids]


async def test_a_letter_that_comes_after_the_dry_run_is_not_in_the_job(letters: Letters) -> None:
    customer_id = new_customer()
    seen = await many(letters.database, 15, customer_id=customer_id)
    body = {"customerId": customer_id, "reason": "as agreed"}
    dry = (await letters.post("/bulk-discard", body)).json()
    [late] = await many(letters.database, 1, customer_id=customer_id)

    started = (await letters.post("/bulk-discard", {**body, "confirm": True})).json()
    job = await letters.ended(started["jobId"], *ENDED)

    assert (dry["mode"], dry["estimatedCount"], dry["jobId"]) == ("DRY_RUN", 15, None)
    assert len(dry["sampleMessageIds"]) == 10
    assert (started["mode"], started["estimatedCount"]) == ("EXECUTING", 15)
    assert (job["state"], job["totalCount"], job["successCount"]) == ("SUCCEEDED", 15, 15)
    assert await states(letters, seen) == ["DISCARDED"] * 15
    assert await letters.state(late) == "OPEN"


async def test_what_was_under_way_during_the_dry_run_is_not_in_the_job_either(
    letters: Letters,
) -> None:
    """It has its place before the dry run, and was not seen there."""
    customer_id = new_customer()
    await many(letters.database, 3, customer_id=customer_id)
    body = {"customerId": customer_id, "reason": "as agreed"}
    message = Message("billing.payment.completed.DLT", 2**30 + 1, 0, 1, b"k", (), b"late")
    async with letters.database.begin(SYSTEM) as tx:
        late = await dead_letter.put(tx, replace(from_topic(message), customer_id=customer_id))
        dry = (await letters.post("/bulk-discard", body)).json()
    assert late is not None

    started = (await letters.post("/bulk-discard", {**body, "confirm": True})).json()
    await letters.ended(started["jobId"], *ENDED)

    assert (dry["estimatedCount"], started["estimatedCount"]) == (3, 3)
    assert await letters.state(late) == "OPEN"


async def test_without_a_dry_run_the_job_has_what_is_there(letters: Letters) -> None:
    customer_id = new_customer()
    ids = await many(letters.database, 3, customer_id=customer_id)

    job_id = await letters.started("replay", customerId=customer_id)

    job = await letters.ended(job_id, *ENDED)
    assert (job["state"], job["totalCount"]) == ("SUCCEEDED", 3)
    assert await letters.sent_for(ids) == dict.fromkeys(ids, 1)


async def test_5_of_500_that_fail_are_told_one_by_one(letters: Letters) -> None:
    customer_id = new_customer()
    good = await many(letters.database, 495, customer_id=customer_id)
    bad = await many(
        letters.database, 5, customer_id=customer_id, error_class="unreadable", payload=None
    )

    job_id = await letters.started("replay", customerId=customer_id, reason="mended")
    job = await letters.ended(job_id, *ENDED)

    counts = (job["totalCount"], job["processedCount"], job["successCount"], job["failureCount"])
    assert (job["state"], *counts) == ("PARTIAL_FAILURE", 500, 500, 495, 5)
    assert job["firstError"] == "Its bytes could not be read, so there is nothing to send."
    assert await letters.sent_for([*good, *bad]) == dict.fromkeys(good, 1)
    assert await states(letters, bad) == ["OPEN"] * 5
    failed = await letters.get(f"/bulk-jobs/{job_id}/items", state="FAILED", size=200)
    assert [each["id"] for each in failed["items"]] == bad
    noted = await trail(letters.database, target_id=job_id)
    assert [each.action for each in noted] == ["DLQ_BULK_REPLAY_START", "DLQ_BULK_REPLAY_FINISH"]
    assert [each.actor_type for each in noted] == ["ADMIN", "SYSTEM"]
    [of_one] = await trail(letters.database, target_id=good[7])
    assert (of_one.action, of_one.actor_id, of_one.reason) == ("DLQ_REPLAY", "dev/demo", "mended")


async def test_items_come_in_pages(letters: Letters) -> None:
    customer_id = new_customer()
    ids = await many(letters.database, 7, customer_id=customer_id)
    job_id = await letters.started("discard", customerId=customer_id, reason="as agreed")
    await letters.ended(job_id, *ENDED)
    seen: list[str] = []
    query: dict[str, str | int] = {"size": 3}
    while True:
        page = await letters.get(f"/bulk-jobs/{job_id}/items", **query)
        seen += [each["id"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]

    assert seen == ids


async def test_a_job_of_more_than_an_execution_holds_ends_too(letters: Letters) -> None:
    customer_id = new_customer()
    await many(letters.database, 120, customer_id=customer_id)
    job_id = await begun(letters, customer_id)
    request = JobRequest(job_id, 1_000, per_execution=50)

    first = await start_dead_letter_job(letters.client, request)
    assert await first.result() == "SUCCEEDED"

    job = await letters.get(f"/bulk-jobs/{job_id}")
    assert (job["state"], job["successCount"]) == ("SUCCEEDED", 120)
    assert first.result_run_id != (await first.describe()).run_id, "it went on as a new execution"


async def begun(letters: Letters, customer_id: str) -> str:
    """A job that has no workflow yet."""
    wanted, id_ = Wanted(LetterSource.PAYMENT, customer_id=customer_id), new_id()
    async with letters.database.begin(SYSTEM) as tx:
        seen = await dead_letter_job.snapshot(tx)
        await dead_letter_job.begin(tx, id_, Operation.DISCARD, wanted, SOMEBODY, "why", seen)
    return id_


# What is refused.


@pytest.mark.parametrize("operation", ["replay", "discard"])
async def test_a_job_for_everything_is_refused(letters: Letters, operation: str) -> None:
    body = {"confirm": True, "reason": "as agreed"}

    refused(await letters.post(f"/bulk-{operation}", body), 400, "invalid-request")

    dry = await letters.post(f"/bulk-{operation}", {"reason": "as agreed"})
    assert (dry.status_code, dry.json()["mode"]) == (200, "DRY_RUN")


@pytest.mark.parametrize(
    "more",
    [
        {"confirm": "true"},
        {"confirm": 1},
        {"confirm": None},
        {"source": "NOTHING"},
        {"from": 1},
        {"expectedCount": -1},
        {"expectedCount": "5"},
        {"customerId": "a b"},
        {"everything": True},
        {"topic": ["a"]},
        {"reason": "x" * 257},
    ],
    ids=str,
)
async def test_what_is_not_exactly_a_job_is_refused(letters: Letters, more: dict[str, Any]) -> None:
    answer = await letters.post("/bulk-replay", {"customerId": new_customer(), **more})

    refused(answer, 400, "invalid-request")


async def test_a_bulk_discard_needs_a_reason(letters: Letters) -> None:
    for confirm in (True, False):
        body = {"customerId": new_customer(), "confirm": confirm}
        refused(await letters.post("/bulk-discard", body), 400, "invalid-request")


@pytest.mark.parametrize(("expected", "status"), [(10, 200), (9, 409), (11, 200), (12, 409)])
async def test_a_job_with_other_letters_than_expected_is_refused(
    letters: Letters, expected: int, status: int
) -> None:
    """11 of 10 expected are within a tenth."""
    customer_id, present = new_customer(), 11 if expected == 10 else 10
    ids = await many(letters.database, present, customer_id=customer_id)
    body = {"customerId": customer_id, "confirm": True, "expectedCount": expected}

    answer = await letters.post("/bulk-replay", body)

    assert answer.status_code == status, answer.text
    if status == 409:
        refused(answer, 409, "illegal-dlq-operation")
        assert await states(letters, ids) == ["OPEN"] * present
    else:
        await letters.ended(answer.json()["jobId"], *ENDED)


async def test_an_unknown_job_is_not_found(letters: Letters) -> None:
    path = f"/bulk-jobs/{new_id()}"
    for each in (path, f"{path}/items"):
        refused(await letters.api.get(f"{DLQ}{each}"), 404, "not-found")
    for turn in ("pause", "resume", "cancel"):
        refused(await letters.post(f"{path}/{turn}"), 404, "not-found")


# Without a worker.


async def test_one_job_for_the_same_letters_is_under_way_at_a_time(idle: Letters) -> None:
    customer_id = new_customer()
    await many(idle.database, 3, customer_id=customer_id)
    usage = {"source": "USAGE", "customerId": customer_id, "confirm": True}

    answers = await asyncio.gather(*(idle.post("/bulk-replay", usage) for _ in range(5)))
    of_all = await idle.post("/bulk-replay", {"customerId": customer_id, "confirm": True})
    of_others = await idle.post("/bulk-replay", {**usage, "source": "ORDER"})
    discard = await idle.post("/bulk-discard", {**usage, "reason": "as agreed"})

    assert sorted(each.status_code for each in answers) == [200, *[409] * 4]
    for each in (of_all, next(each for each in answers if each.status_code == 409)):
        refused(each, 409, "job-running")
    assert (of_others.status_code, discard.status_code) == (200, 200)
    for each in (of_others, discard, *(each for each in answers if each.status_code == 200)):
        job_id = each.json()["jobId"]
        assert (await idle.post(f"/bulk-jobs/{job_id}/cancel")).json()["state"] == "CANCELLED"


async def test_a_dry_run_counts_for_whoever_made_it(idle: Letters) -> None:
    customer_id = new_customer()
    await many(idle.database, 3, customer_id=customer_id)
    body = {"customerId": customer_id, "confirm": False}
    await idle.post("/bulk-replay", body)
    await many(idle.database, 1, customer_id=customer_id)

    theirs = await idle.api.post(
        f"{DLQ}/bulk-replay",
        json={**body, "confirm": True},
        headers={"X-Customer-Id": new_customer()},
    )

    assert theirs.json()["estimatedCount"] == 4
    await idle.post(f"/bulk-jobs/{theirs.json()['jobId']}/cancel")


async def test_a_job_goes_on_where_it_stopped_however_often_it_is_turned(idle: Letters) -> None:
    """Paused, resumed and cancelled by rows: who works sees it before the next letter."""
    customer_id = new_customer()
    ids = await many(idle.database, 4, customer_id=customer_id)
    job_id = await idle.started("discard", customerId=customer_id, reason="as agreed")
    working = DeadLetterActivities(idle.database)

    async def turned(how: str) -> str:
        answer = await idle.post(f"/bulk-jobs/{job_id}/{how}")
        return str(answer.json().get("state", answer.status_code))

    async def one(number: int) -> None:
        for _ in range(2):  # an activity may run twice
            await working.decide(JobLetter(job_id, ids[number]))

    await one(0)
    assert [await turned(how) for how in ("resume", "pause", "pause")] == ["409", "PAUSED", "409"]
    await one(1)
    assert (await working.next(JobPage(job_id, 50))).letters == ()
    assert await turned("resume") == "RUNNING"
    await one(2)
    assert (await working.next(JobPage(job_id, 50))).letters == (ids[1], ids[3])
    assert await turned("cancel") == "CANCELLED"
    await one(3)

    assert await states(idle, ids) == ["DISCARDED", "OPEN", "DISCARDED", "OPEN"]
    assert [await turned(how) for how in ("pause", "resume", "cancel")] == ["409"] * 3
    job = await idle.get(f"/bulk-jobs/{job_id}")
    assert (job["successCount"], job["processedCount"], job["totalCount"]) == (2, 2, 4)
    noted = [each.action for each in await trail(idle.database, target_id=job_id)]
    assert noted == [
        "DLQ_BULK_DISCARD_START",
        "DLQ_JOB_PAUSED",
        "DLQ_JOB_RESUMED",
        "DLQ_JOB_CANCELLED",
    ]


async def test_a_letter_that_somebody_decided_about_meanwhile_fails_alone(idle: Letters) -> None:
    customer_id = new_customer()
    ids = await many(idle.database, 2, customer_id=customer_id)
    job_id = await idle.started("replay", customerId=customer_id)
    await idle.post(f"/{ids[0]}/discard", {"reason": "mine"})
    working = DeadLetterActivities(idle.database)
    for id_ in ids:
        await working.decide(JobLetter(job_id, id_))
    assert (await working.next(JobPage(job_id, 50))).state == "PARTIAL_FAILURE"

    job = await idle.get(f"/bulk-jobs/{job_id}")
    assert (job["state"], job["firstError"]) == ("PARTIAL_FAILURE", "It is DISCARDED already.")
    assert await idle.sent_for(ids) == {ids[1]: 1}


@pytest.mark.parametrize(("back", "state"), [(4, "RUNNING"), (5, "PAUSED")])
async def test_a_job_pauses_itself_when_more_than_a_fifth_comes_back(
    idle: Letters, back: int, state: str
) -> None:
    customer_id = new_customer()
    ids = await many(idle.database, FEW + 5, customer_id=customer_id)
    job_id = await idle.started("replay", customerId=customer_id)
    working = DeadLetterActivities(idle.database)
    for id_ in ids[:FEW]:
        await working.decide(JobLetter(job_id, id_))
    for id_ in ids[:back]:
        await many(idle.database, 1, replay_of=id_, retry_count=1)

    batch = await working.next(JobPage(job_id, 50))

    job = await idle.get(f"/bulk-jobs/{job_id}")
    assert (batch.state, job["state"], job["cameBackCount"]) == (state, state, back)
    if state == "PAUSED":
        assert "5 of 20 letters have failed again" in job["stateReason"]
        resumed = await idle.post(f"/bulk-jobs/{job_id}/resume")
        assert resumed.json()["cameBackCount"] == 0, "they are counted anew"
        assert (await working.next(JobPage(job_id, 50))).letters == tuple(ids[FEW:])
    await idle.post(f"/bulk-jobs/{job_id}/cancel")


async def test_more_than_a_thousand_letters_need_a_second_person(idle: Letters) -> None:
    customer_id = new_customer()
    await many(idle.database, 1_001, customer_id=customer_id)
    body = {"customerId": customer_id, "reason": "as agreed", "confirm": True}

    first = await idle.post("/bulk-discard", body)
    again = await idle.post("/bulk-discard", body)
    second = await idle.api.post(
        f"{DLQ}/bulk-discard", json=body, headers={"X-Customer-Id": new_customer()}
    )

    for each in (first, again):
        refused(each, 409, "second-person-needed")
    assert (second.status_code, second.json()["estimatedCount"]) == (200, 1_001)
    await idle.post(f"/bulk-jobs/{second.json()['jobId']}/cancel")


async def test_the_sweeper_starts_a_job_that_nobody_works_on(idle: Letters) -> None:
    """Whoever started it died before Temporal heard of it."""
    customer_id = new_customer()
    await many(idle.database, 1, customer_id=customer_id)
    job_id = await idle.started("discard", customerId=customer_id, reason="as agreed")
    handle = idle.client.get_workflow_handle(dead_letter_job_workflow_id(job_id))
    await handle.terminate()
    async with idle.database.read(SYSTEM) as tx:
        now = await clock.now(tx)

    await sweeper.sweep(idle.client, idle.database, Terms(), now)

    again = await handle.describe()
    assert again.status is WorkflowExecutionStatus.RUNNING
    await handle.terminate()
    await idle.post(f"/bulk-jobs/{job_id}/cancel")


# Killed.


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker of its own, which is killed at the end of the block."""
    told = settings.model_dump(
        mode="json", exclude_defaults=True, exclude={"gateway_webhook_secret"}
    )
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.settling_worker"),
        stdout=PIPE,
        env={
            **process.python_environment(),
            **{name.upper(): str(value) for name, value in told.items()},
        },
    )
    assert worker.stdout is not None
    try:
        async with patience():
            while (line := await worker.stdout.readline()) != b"ready\n":
                assert line, "the worker has ended"
        rest = asyncio.create_task(worker.stdout.read())
        yield worker
        worker.kill()
        await rest
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


async def test_a_job_of_500_survives_kill_9_and_does_each_letter_once(idle: Letters) -> None:
    customer_id = new_customer()
    ids = await many(idle.database, 500, customer_id=customer_id)
    job_id = await idle.started("replay", customerId=customer_id)

    async def done() -> int:
        return int((await idle.get(f"/bulk-jobs/{job_id}"))["processedCount"])

    for part in (50, 200, 350):
        async with worker_process(idle.settings):

            async def far_enough(part: int = part) -> bool:
                return await done() > part

            await eventually(far_enough)
    assert part < await done() < 500, "it was killed in the middle"
    async with worker_process(idle.settings):
        job = await idle.ended(job_id, *ENDED)

    assert (job["state"], job["successCount"]) == ("SUCCEEDED", 500)
    assert await idle.sent_for(ids) == dict.fromkeys(ids, 1)
    entries = [await trail(idle.database, target_id=id_, action="DLQ_REPLAY") for id_ in ids]
    assert {len(each) for each in entries} == {1}
