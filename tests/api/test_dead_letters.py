"""Dead letters over HTTP: the eight calls of the source documents, on real parts."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import uvicorn

from api.app import create_app
from domain.event import Topic
from domain.message import Headers, Message
from runtime.dead_letter_consumer import take
from runtime.settings import Settings
from tests.api.documents import refused as is_refused
from tests.support.audit import trail
from tests.support.conditions import eventually
from tests.support.letters import DLQ, WITH_DEAD_LETTERS, Letters, letters_on, many
from tests.support.relays import relay_bed
from tests.support.samples import new_customer, new_id

ILLEGAL = "illegal-dlq-operation"


@asynccontextmanager
async def nobodys_letters(
    settings: Settings, factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    async with (
        relay_bed(settings, factory.mktemp("letters"), WITH_DEAD_LETTERS) as bed,
        letters_on(bed) as made,
    ):
        yield made


@pytest.fixture(scope="module")
async def letters(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    async with nobodys_letters(settings, tmp_path_factory) as made:
        yield made


@pytest.fixture
async def untouched(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Letters]:
    """Where no other test was: the source documents count from the first letter."""
    async with nobodys_letters(settings, tmp_path_factory) as made:
        yield made


# The curl lines of the source documents, as they stand.

CURLS = r"""
H=(-H "Authorization: Bearer ${TOKEN}" -H "Content-Type: application/json")

# 1
curl -G "${HOST}/api/v1/admin/dlq" "${H[@]}" \
  --data-urlencode "source=PAYMENT" \
  --data-urlencode "from=2026-05-17T08:00:00Z" \
  --data-urlencode "size=50"

# 2
MSG="billing.payment.captured.DLT:0:42"
curl "${HOST}/api/v1/admin/dlq/${MSG}" "${H[@]}"

# 3
curl -X POST "${HOST}/api/v1/admin/dlq/${MSG}/replay" "${H[@]}"

# 4
curl -X POST "${HOST}/api/v1/admin/dlq/${MSG}/discard" "${H[@]}" \
  -d '{"reason":"customer cancelled before retry"}'

# 5
curl -X POST "${HOST}/api/v1/admin/dlq/bulk-replay" "${H[@]}" \
  -d '{"source":"PAYMENT","from":"2026-05-17T08:00:00Z","reason":"vendor recovery"}'

# 6
curl -X POST "${HOST}/api/v1/admin/dlq/bulk-replay" "${H[@]}" \
  -d '{"source":"PAYMENT","from":"2026-05-17T08:00:00Z","confirm":true,"reason":"vendor recovery"}'

# 7
JOB="<jobId>"
curl "${HOST}/api/v1/admin/dlq/bulk-jobs/${JOB}" "${H[@]}"

# 8
curl -G "${HOST}/api/v1/admin/dlq/stats" "${H[@]}" \
  --data-urlencode "from=2026-05-17T00:00:00Z" \
  --data-urlencode "to=2026-05-17T23:59:59Z" \
  --data-urlencode "bucket=PT1H"
"""


def curl(number: int, job: str = "") -> str:
    """The lines of one number, with what they need from before."""
    preamble, *blocks = CURLS.split("\n# ")
    blocks = [block.partition("\n")[2] for block in blocks]
    needed = [preamble, 'MSG="billing.payment.captured.DLT:0:42"', blocks[number - 1]]
    return "\n".join(needed).replace("<jobId>", job)


async def asked(host: str, number: int, job: str = "") -> tuple[int, dict[str, Any]]:
    script = f"curl() {{ command curl -sS -w '\\n%{{http_code}}' \"$@\"; }}\n{curl(number, job)}"
    bash = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOST": host, "TOKEN": "unused-in-dev", "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    output, errors = await bash.communicate()
    body, _, status = output.decode().rpartition("\n")
    assert status.isdigit(), errors.decode()
    return int(status), json.loads(body)


@pytest.fixture
async def host(untouched: Letters) -> AsyncIterator[str]:
    """The API on a port."""
    config = uvicorn.Config(create_app(untouched.settings), port=0, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    [port] = {each.getsockname()[1] for each in server.servers[0].sockets}
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def test_the_eight_curl_lines_as_they_stand(untouched: Letters, host: str) -> None:
    """Each of the numbers 2 to 4 wants the same message; 4 comes too late."""
    headers: Headers = (
        ("Idempotency-Key", b"payment-key-42"),
        ("customer-id", b"acme-corp"),
        ("kafka_dlt-exception-fqcn", b"com.example.PgTimeoutException"),
        ("kafka_dlt-exception-message", b"the PG did not answer"),
        ("kafka_dlt-exception-stacktrace", b"at com.example.Pg.capture(Pg.kt:42)"),
    )
    values = [json.dumps({"number": number}).encode() for number in range(43)]
    await untouched.send_all("billing.payment.captured.DLT", values, headers)

    status, page = await asked(host, 1)
    assert (status, page["size"], len(page["items"])) == (200, 50, 43)
    assert page["items"][0]["messageId"] == "billing.payment.captured.DLT:0:42"
    assert page["items"][0]["originalTopic"] == "billing.payment.captured"
    assert page["nextCursor"] is None

    status, found = await asked(host, 2)
    assert (status, found["payload"], found["payloadEncoding"]) == (200, '{"number": 42}', "text")
    assert (found["idempotencyKey"], found["customerId"]) == ("payment-key-42", "acme-corp")
    assert found["errorClass"] == "com.example.PgTimeoutException"
    assert found["originalStacktrace"] == "at com.example.Pg.capture(Pg.kt:42)"
    named = {each["name"]: each["value"] for each in found["headers"]}
    assert named["Idempotency-Key"] == "payment-key-42"

    status, replayed = await asked(host, 3)
    assert (status, replayed["messageId"]) == (200, "billing.payment.captured.DLT:0:42")
    status, refusal = await asked(host, 3)
    assert (status, refusal["code"]) == (409, "ILLEGAL_DLQ_OPERATION")
    status, refusal = await asked(host, 4)
    assert (status, refusal["type"].rpartition("/")[2]) == (409, ILLEGAL)

    status, estimate = await asked(host, 5)
    assert (status, estimate["mode"], estimate["estimatedCount"]) == (200, "DRY_RUN", 42)
    assert (len(estimate["sampleMessageIds"]), estimate["jobId"]) == (10, None)
    status, executing = await asked(host, 6)
    assert (status, executing["mode"], executing["estimatedCount"]) == (200, "EXECUTING", 42)
    await untouched.ended(executing["jobId"], "SUCCEEDED")
    status, job = await asked(host, 7, executing["jobId"])
    assert (status, job["successCount"], job["failureCount"]) == (200, 42, 0)
    assert (job["operation"], job["firstError"]) == ("REPLAY", None)

    status, stats = await asked(host, 8)
    assert (status, stats["bucketDuration"], len(stats["byBucket"])) == (200, "PT1H", 24)
    for number in range(43):
        await untouched.becomes(f"billing.payment.captured.DLT:0:{number}", "REPLAYED")
    again = await untouched.messages("billing.payment.captured")
    assert sorted(json.loads(each.value or b"")["number"] for each in again) == list(range(43))
    for each in again:
        sent = dict(each.headers)
        assert sent["Idempotency-Key"] == b"payment-key-42"
        assert sent["dlq-replay-count"] == b"1"
        assert not [name for name in sent if name.startswith("kafka_dlt-")]


# One letter.


async def test_what_is_replayed_leaves_in_its_very_bytes(letters: Letters) -> None:
    headers: Headers = (("ce_id", new_id().encode()), ("twice", b"\xff\x00"), ("twice", None))
    value = b"\xff\x00{" + bytes(range(256))
    called = await letters.send("billing.order.created.DLT", value, headers, b"\xfe\x00")

    before = await letters.get(f"/{called}")
    assert (await letters.post(f"/{called}/replay")).status_code == 200
    await letters.becomes(called, "REPLAYED")

    found = await letters.get(f"/{called}")
    [message] = await letters.messages(Topic.ORDER_CREATED)
    assert (message.value, message.key) == (value, b"\xfe\x00")
    about = (("dlq-replay-of", found["id"].encode()), ("dlq-replay-count", b"1"))
    assert message.headers == (*headers, *about)
    assert before["payloadEncoding"] == "base64"
    assert base64.b64decode(before["payload"]) == value
    assert before["headers"][1] == {"name": "twice", "value": "/wA=", "valueEncoding": "base64"}
    assert (before["state"], before["payloadLength"]) == ("OPEN", len(value))


async def test_of_two_replays_at_once_one_is_done(letters: Letters) -> None:
    [id_] = await many(letters.database, 1)

    answers = await asyncio.gather(*(letters.post(f"/{id_}/replay") for _ in range(8)))

    assert sorted(each.status_code for each in answers) == [200, *[409] * 7]
    is_refused(next(each for each in answers if each.status_code == 409), 409, ILLEGAL)
    assert await letters.sent_for([id_]) == {id_: 1}


async def test_a_discard_against_a_replay_leaves_one_of_the_two(letters: Letters) -> None:
    ids = await many(letters.database, 10)
    for id_ in ids:
        replayed, discarded = await asyncio.gather(
            letters.post(f"/{id_}/replay"), letters.post(f"/{id_}/discard", {"reason": "no"})
        )
        statuses = (replayed.status_code, discarded.status_code)
        assert sorted(statuses) == [200, 409]
        won = replayed.status_code == 200
        assert await letters.sent_for([id_]) == ({id_: 1} if won else {})
        assert await letters.state(id_) in (("REPLAYING", "REPLAYED") if won else ("DISCARDED",))


async def test_what_was_decided_is_in_the_trail_with_who_and_why(letters: Letters) -> None:
    ids = await many(letters.database, 2, customer_id="acme-corp")
    await letters.get(f"/{ids[0]}")
    await letters.post(f"/{ids[0]}/replay")
    await letters.post(f"/{ids[1]}/discard", {"reason": "as agreed"})

    first = await trail(letters.database, target_id=ids[0])
    second = await trail(letters.database, target_id=ids[1])
    assert [each.action for each in first] == ["DATA_VIEWED", "DLQ_REPLAY"]
    assert [(each.action, each.reason) for each in second] == [("DLQ_DISCARD", "as agreed")]
    assert {each.customer_id for each in (*first, *second)} == {"acme-corp"}
    assert {each.actor_id for each in (*first, *second)} == {"dev/demo"}


async def test_nothing_is_ever_deleted(letters: Letters) -> None:
    [id_] = await many(letters.database, 1)
    for name in (id_, "billing.payment.captured.DLT:0:99999", "no-letter-at-all", "stats"):
        answer = await letters.api.delete(f"{DLQ}/{name}")

        is_refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET"
    assert await letters.state(id_) == "OPEN"


@pytest.mark.parametrize(
    "body",
    [{}, {"reason": ""}, {"reason": " \t"}, {"reason": "x" * 257}, {"reason": None}, []],
    ids=str,
)
async def test_a_discard_needs_a_reason(letters: Letters, body: Any) -> None:
    [id_] = await many(letters.database, 1)

    answer = await letters.api.post(f"{DLQ}/{id_}/discard", json=body)

    is_refused(answer, 400, "invalid-request")
    assert await letters.state(id_) == "OPEN"


@pytest.mark.parametrize(
    "name",
    [
        "billing.payment.captured.DLT:0:99999",
        "billing.payment.captured.DLT:2147483648:9223372036854775808",
        "00000000-0000-7000-8000-000000000000",
    ],
)
async def test_an_unknown_letter_is_not_found(letters: Letters, name: str) -> None:
    is_refused(await letters.api.get(f"{DLQ}/{name}"), 404, "not-found")
    is_refused(await letters.post(f"/{name}/replay"), 404, "not-found")
    is_refused(await letters.post(f"/{name}/discard", {"reason": "no"}), 404, "not-found")


@pytest.mark.parametrize("name", ["x", "a:b:c", "t:1", "t:1:2:3", "t:-1:2", "%00:1:2", "é:1:2"])
async def test_what_is_no_name_is_refused(letters: Letters, name: str) -> None:
    is_refused(await letters.api.get(f"{DLQ}/{name}"), 400, "invalid-request")


async def test_bytes_that_nobody_could_read_are_not_sent_as_nothing(letters: Letters) -> None:
    """A replay of it would be a tombstone."""
    [id_] = await many(letters.database, 1, error_class="unreadable", payload=None)

    is_refused(await letters.post(f"/{id_}/replay"), 409, ILLEGAL)

    assert await letters.sent_for([id_]) == {}
    assert (await letters.post(f"/{id_}/discard", {"reason": "unreadable"})).status_code == 200


HOSTILE: dict[str, tuple[bytes | None, tuple[tuple[str, bytes | None], ...], bytes | None]] = {
    "a tombstone": (None, (), None),
    "nothing": (b"", (("", b""),), b""),
    "every byte": (bytes(range(256)) * 40, (("x", bytes(range(256))),), bytes(range(256))),
    "a NUL": (b'"\\u0000\x00"', (("a\nb", b"\x00"),), b"\x00"),
    "markup": (b"<script>alert(1)</script>[bold]", (("<b>", b"</b>"),), b"[red]"),
    "SQL": (b"'); DROP TABLE dead_letters; --", (("'", b"$1"),), b"\\'"),
    "a header of our own": (b"1", (("dlq-replay-of", b"\xff"), ("dlq-replay-count", b"-1")), b"k"),
    "a count without end": (b"2", (("dlq-replay-count", b"9" * 5000),), b"k"),
    "another's id": (b"3", (("dlq-replay-of", b"00000000-0000-7000-8000-000000000000"),), b"k"),
    "numbers of a wrong length": (b"4", (("kafka_dlt-original-offset", b"12"),), b"k"),
    "a customer that is none": (b"5", (("customer-id", b"../../etc\x00"),), b"k"),
    "another topic": (b"6", (("kafka_dlt-original-topic", b"billing.payment.completed"),), b"k"),
    "a class without end": (b"7", (("kafka_dlt-exception-fqcn", b"x" * 100_000),), b"k"),
    "a thousand headers": (b"8", tuple((f"h{n}", b"v") for n in range(1000)), b"k"),
    "a size near the limit": (b"x" * 990_000, (), b"k"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_bytes_are_kept_shown_and_sent_again_as_they_are(
    letters: Letters, kind: str
) -> None:
    value, headers, key = HOSTILE[kind]
    topic = Topic.REFUND_COMPLETED
    called = await letters.send(f"{topic}.DLT", value, headers, key, partition=5)

    listed = await letters.get(source="REFUND", size=200)
    shown = await letters.get(f"/{called}")
    assert called in [each["messageId"] for each in listed["items"]]
    assert shown["originalTopic"] == topic, "whatever a header says"
    assert shown["replayOf"] is None
    assert (await letters.post(f"/{called}/replay")).status_code == 200
    await letters.becomes(called, "REPLAYED")

    [again] = [
        each
        for each in await letters.messages(topic)
        if dict(each.headers)["dlq-replay-of"] == shown["id"].encode()
    ]
    ours = ("dlq-replay-", "kafka_dlt-", "dlt-id")
    kept = tuple(each for each in again.headers if not each[0].startswith(ours))
    assert (again.value, again.key) == (value, key)
    assert kept == tuple(each for each in headers if not each[0].startswith(ours))


async def test_a_broker_whose_offsets_begin_anew_hides_no_letter(letters: Letters) -> None:
    topic = "billing.payment.failed.DLT"
    place = (topic, 3, 42)
    messages = [Message(*place, timestamp, b"k", (), b"%d" % timestamp) for timestamp in (1, 2)]
    for each in messages:
        assert await take(letters.database, [each, each]) == []

    items = (await letters.get(topic=topic))["items"]
    assert [each["messageId"] for each in items] == [f"{topic}:3:42"] * 2
    newest, older = items
    assert (await letters.get(f"/{topic}:3:42"))["payload"] == "2"
    assert (await letters.get(f"/{older['id']}"))["payload"] == "1"
    assert (await letters.post(f"/{older['id']}/discard", {"reason": "old"})).status_code == 200
    assert await letters.state(newest["id"]) == "OPEN"


async def test_what_fails_again_comes_back_as_another_letter(letters: Letters) -> None:
    topic = Topic.REFUND_COMPLETED
    first = await letters.send(f"{topic}.DLT", b"first", partition=7)
    await letters.post(f"/{first}/replay")
    await letters.becomes(first, "REPLAYED")
    before = await letters.get(f"/{first}")
    [again] = [each for each in await letters.messages(topic) if each.value == b"first"]

    second = await letters.send(f"{topic}.DLT", again.value, again.headers, partition=7)

    after = await letters.get(f"/{second}")
    assert (after["replayOf"], after["retryCount"], after["state"]) == (before["id"], 1, "OPEN")
    await letters.post(f"/{second}/replay")
    await letters.becomes(second, "REPLAYED")
    counts = [
        dict(each.headers)["dlq-replay-count"] or b""
        for each in await letters.messages(topic)
        if each.value == b"first"
    ]
    assert sorted(counts) == [b"1", b"2"]


async def test_what_the_brokers_do_not_take_says_so_and_waits(letters: Letters) -> None:
    topic = f"billing.test.{uuid4().hex}"
    [id_] = await many(letters.database, 1, f"{topic}.DLT")
    letters.bed.control(f"topic_error {topic} 29")
    await letters.post(f"/{id_}/replay")

    async def says_why() -> bool:
        return (await letters.get(f"/{id_}"))["stateReason"] is not None

    await eventually(says_why)
    assert await letters.state(id_) == "REPLAYING"
    is_refused(await letters.post(f"/{id_}/replay"), 409, ILLEGAL)
    letters.bed.control(f"topic_error {topic} 0")


# Lists.


async def test_pages_follow_each_other_and_miss_nothing(letters: Letters) -> None:
    customer_id = new_customer()
    ids = await many(letters.database, 25, customer_id=customer_id)
    seen: list[str] = []
    query: dict[str, str | int] = {"customerId": customer_id, "size": 10}
    while True:
        page = await letters.get("", **query)
        seen += [each["id"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
        await many(letters.database, 1, customer_id=customer_id)

    assert seen[:25] == ids[::-1]
    assert set(seen[25:]).isdisjoint(ids)
    other = {"customerId": new_customer(), "cursor": str(query["cursor"])}
    is_refused(await letters.api.get(DLQ, params=other), 400, "invalid-request")


async def test_the_list_has_what_is_open_unless_another_state_is_named(letters: Letters) -> None:
    customer_id = new_customer()
    kept, gone = await many(letters.database, 2, customer_id=customer_id)
    await letters.post(f"/{gone}/discard", {"reason": "no"})

    async def listed(**more: str) -> list[str]:
        page = await letters.get(customerId=customer_id, **more)
        return [each["id"] for each in page["items"]]

    assert await listed() == [kept]
    assert await listed(state="DISCARDED") == [gone]
    assert await listed(state="ALL") == [gone, kept]


@pytest.mark.parametrize(
    "query",
    [
        {"source": "NOTHING"},
        {"state": "GONE"},
        {"size": "0"},
        {"size": "201"},
        {"from": "yesterday"},
        {"customerId": "a b"},
        {"topic": "\x00"},
        {"topic": "x" * 250},
        {"errorType": "x" * 201},
        {"cursor": "nonsense"},
        {"unknown": "1"},
    ],
    ids=str,
)
async def test_a_question_that_means_nothing_is_refused(
    letters: Letters, query: dict[str, str]
) -> None:
    is_refused(await letters.api.get(DLQ, params=query), 400, "invalid-request")


# Statistics.


async def test_the_worked_example_of_the_statistics(letters: Letters) -> None:
    customer_id, day = new_customer(), datetime(2025, 5, 17, tzinfo=UTC)
    for hour, minute in ((8, 10), (8, 50), (9, 5), (11, 0), (7, 59)):
        at = day.replace(hour=hour, minute=minute)
        await many(letters.database, 1, occurred_at=at, customer_id=customer_id)
    query = {"from": "2025-05-17T08:00:00Z", "to": "2025-05-17T11:00:00Z", "bucket": "PT1H"}

    stats = await letters.get("/stats", **query)
    of_another = await letters.get("/stats", **query, source="USAGE")

    assert stats == {
        "from": "2025-05-17T08:00:00Z",
        "to": "2025-05-17T11:00:00Z",
        "bucketDuration": "PT1H",
        "totalCount": 3,
        "byBucket": [
            {"bucketStart": "2025-05-17T08:00:00Z", "count": 2},
            {"bucketStart": "2025-05-17T09:00:00Z", "count": 1},
            {"bucketStart": "2025-05-17T10:00:00Z", "count": 0},
        ],
        "bySource": [{"key": "PAYMENT", "count": 3}],
        "byErrorClass": [{"key": "unknown", "count": 3}],
        "byCustomer": [{"key": customer_id, "count": 3}],
    }
    assert (of_another["totalCount"], of_another["bySource"]) == (0, [])


async def test_without_bounds_the_last_day_is_counted_by_the_hour(letters: Letters) -> None:
    stats = await letters.get("/stats")

    assert (stats["bucketDuration"], len(stats["byBucket"])) == ("PT1H", 24)


@pytest.mark.parametrize(
    "query",
    [
        {"bucket": "PT0S"},
        {"bucket": "1h"},
        {"bucket": "3600"},
        {"bucket": "P"},
        {"bucket": "PT"},
        {"bucket": "P1Y"},
        {"bucket": "-PT1H"},
        {"bucket": "PT1.5H"},
        {"bucket": "PT1S"},
        {"from": "2026-05-17T08:00:00Z", "to": "2026-05-17T08:00:00Z"},
        {"from": "2026-05-18T08:00:00Z", "to": "2026-05-17T08:00:00Z"},
        {"from": "1970-01-01T00:00:00Z", "to": "9000-01-01T00:00:00Z", "bucket": "P1D"},
    ],
    ids=str,
)
async def test_statistics_that_mean_nothing_or_too_much_are_refused(
    letters: Letters, query: dict[str, str]
) -> None:
    answer = await letters.api.get(f"{DLQ}/stats", params=query)

    is_refused(answer, 400, "invalid-request")
