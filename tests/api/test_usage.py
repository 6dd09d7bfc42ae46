"""Usage over HTTP: one event, many, CloudEvents, and what is not usage at all."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import select

from domain.access import SYSTEM
from service.health import figures
from store import usage
from store.database import Database
from store.tables import usage_events
from tests.support.usage import document, event, new_customer

CLOUD_EVENT = {"Content-Type": "application/cloudevents+json"}
CLOUD_EVENTS = {"Content-Type": "application/cloudevents-batch+json"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def customer_id(database: Database) -> str:
    return await new_customer(database)


async def quantities(database: Database, customer_id: str) -> list[str]:
    """What was counted, exactly."""
    query = select(usage_events.c.quantity).where(usage_events.c.customer_id == customer_id)
    async with database.engine.connect() as tx:
        return [str(row.quantity) for row in await tx.execute(query.order_by("quantity"))]


async def post(api: httpx2.AsyncClient, body: dict[str, Any]) -> httpx2.Response:
    return await api.post("/api/v1/usage", json=body)


async def batch(api: httpx2.AsyncClient, *events: Any) -> list[dict[str, Any]]:
    answer = await api.post("/api/v1/usage/batch", json={"events": events})
    assert answer.status_code == 202, answer.text
    found: list[dict[str, Any]] = answer.json()["outcomes"]
    return found


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_an_event_is_accepted_once(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    body = document(customer_id, "e-1", quantity=150)

    first, again = await post(api, body), await post(api, body)

    assert (first.status_code, first.json()) == (202, {"eventId": "e-1", "status": "ACCEPTED"})
    assert (again.status_code, again.json()) == (202, {"eventId": "e-1", "status": "DUPLICATE"})
    assert await quantities(database, customer_id) == ["150.000000"]


async def test_the_same_event_with_another_content_is_refused(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    body = document(customer_id)
    await post(api, body)

    assert problem(await post(api, {**body, "quantity": 2})) == (409, "usage-conflict")
    assert await quantities(database, customer_id) == ["1.000000"]


async def test_the_same_content_in_other_words_is_the_same_event(
    api: httpx2.AsyncClient, customer_id: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    seoul = (now + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%S+09:00")
    body = document(customer_id, "e-1", quantity=1.5, occurredAt=now.isoformat())
    other = {**body, "quantity": "1.50", "occurredAt": seoul}
    attributes = {"id": "e-1", "source": "/gateway", "subject": customer_id, "type": "API_CALL"}
    data = {"quantity": 1.5}
    cloud_event = {"specversion": "1.0", **attributes, "time": seoul, "data": data}

    answers = [
        await post(api, body),
        await post(api, other),
        await api.post("/api/v1/usage", content=json.dumps(cloud_event), headers=CLOUD_EVENT),
        await api.post("/api/v1/usage", json=cloud_event),
    ]

    assert [answer.json()["status"] for answer in answers] == ["ACCEPTED"] + ["DUPLICATE"] * 3
    [outcome] = await batch(api, cloud_event)
    assert outcome["status"] == "DUPLICATE"


async def test_a_quantity_keeps_every_digit_also_as_a_number(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    body = json.dumps(document(customer_id, quantity="Q")).replace('"Q"', "123456789012345.123456")

    answer = await api.post("/api/v1/usage", content=body, headers=JSON)

    assert answer.status_code == 202, answer.text
    assert await quantities(database, customer_id) == ["123456789012345.123456"]


async def test_an_unknown_customer_is_not_found(api: httpx2.AsyncClient) -> None:
    assert problem(await post(api, document(f"c-{uuid4().hex}"))) == (404, "not-found")


@pytest.mark.parametrize(
    ("age", "slug"),
    [
        (timedelta(hours=-1, minutes=-1), "usage-in-future"),
        (timedelta(days=397), "usage-too-old"),
    ],
)
async def test_the_time_of_an_event_is_bounded(
    api: httpx2.AsyncClient, customer_id: str, age: timedelta, slug: str
) -> None:
    occurred_at = (datetime.now(UTC) - age).isoformat()

    answer = await post(api, document(customer_id, occurredAt=occurred_at))

    assert problem(answer) == (422, slug)


async def test_a_batch_answers_for_each_event_in_order(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    body = document(customer_id, "e-1")
    await post(api, body)
    fresh = document(customer_id, "e-2", quantity="2.5")
    old = (datetime.now(UTC) - timedelta(days=397)).isoformat()

    found = await batch(
        api,
        fresh,
        body,
        {**body, "quantity": 9},
        fresh,
        {**fresh, "quantity": 9},
        document(f"c-{uuid4().hex}", "e-3"),
        document(customer_id, "e-4", quantity=-1),
        document(customer_id, "e-5", occurredAt=old),
        "no event",
        document(customer_id, "e-6"),
    )

    assert [(each["eventId"], each["status"], each["problem"]) for each in found] == [
        ("e-2", "ACCEPTED", None),
        ("e-1", "DUPLICATE", None),
        ("e-1", "CONFLICT", "usage-conflict"),
        ("e-2", "DUPLICATE", None),
        ("e-2", "CONFLICT", "usage-conflict"),
        ("e-3", "REFUSED", "not-found"),
        ("e-4", "REFUSED", "invalid-request"),
        ("e-5", "REFUSED", "usage-too-old"),
        (None, "REFUSED", "invalid-request"),
        ("e-6", "ACCEPTED", None),
    ]
    assert all((each["detail"] is None) == (each["problem"] is None) for each in found)
    assert await quantities(database, customer_id) == ["1.000000", "1.000000", "2.500000"]


async def test_a_thousand_events_of_full_length_are_one_batch(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    def long(number: int) -> dict[str, Any]:
        name = f"{number:04}".rjust(128, "e")
        return document(customer_id, name, resourceType="R" * 64, quantity="1" * 15 + ".123456")

    found = await batch(api, *(long(number) for number in range(1000)))

    assert {each["status"] for each in found} == {"ACCEPTED"}
    assert len(await quantities(database, customer_id)) == 1000


async def test_a_batch_may_be_a_batch_of_cloud_events(
    api: httpx2.AsyncClient, customer_id: str
) -> None:
    events = [{"specversion": "1.0", "data": document(customer_id)} for _ in range(3)]
    body = json.dumps(events)

    answer = await api.post("/api/v1/usage/batch", content=body, headers=CLOUD_EVENTS)

    assert [each["status"] for each in answer.json()["outcomes"]] == ["ACCEPTED"] * 3


@pytest.mark.parametrize(
    "body",
    [
        *["", "{}", "[]", "null", "5", '"text"', '{"events":[]}', '{"events":null}'],
        *['{"events":{}}', '{"events":[1],"more":1}', json.dumps({"events": [1] * 1001}), "[[[["],
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(api: httpx2.AsyncClient, body: str) -> None:
    answer = await api.post("/api/v1/usage/batch", content=body, headers=JSON)

    assert problem(answer) == (400, "invalid-request")


@pytest.mark.parametrize(
    "replacement",
    [
        *[('"eventId"', '"eventID"'), ('"eventId"', '"customerId"'), (" 1,", " 1,,")],
        *[("API_CALL", "\\u0000"), ("API_CALL", "\\ud800"), ("API_CALL", "한"), ("API_CALL", "")],
        *[("API_CALL", "A" * 10_000), (": 1,", ": NaN,"), (": 1,", ": 1e400,")],
        *[(": 1,", f": {'9' * 4301},"), (": 1,", ": [[[[[1]]]]],"), (": 1,", ': "1; --",')],
        *[(": 1,", ": -1,"), (": 1,", ": true,"), (": 1,", ": 1e99999999999999999999,")],
        *[('"occurredAt": "', '"occurredAt": "+'), ('"occurredAt": "', '"occurredAt": "X')],
        *[("{", "[" * 50_000), ("{", "\ufeff{"), ("{", '{"\\ud800": 1, ')],
    ],
)
async def test_hostile_events_are_refused_with_400(
    api: httpx2.AsyncClient, customer_id: str, replacement: tuple[str, str]
) -> None:
    body = json.dumps(document(customer_id)).replace(*replacement, 1).encode()

    answer = await api.post("/api/v1/usage", content=body, headers=JSON)
    assert problem(answer) == (400, "invalid-request")

    whole = b'{"events":[' + body + b"]}"
    answer = await api.post("/api/v1/usage/batch", content=whole, headers=JSON)
    assert answer.status_code in (202, 400)
    if answer.status_code == 202:
        assert [each["status"] for each in answer.json()["outcomes"]] == ["REFUSED"]


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/xml", "application/jsonx"])
@pytest.mark.parametrize("path", ["/api/v1/usage", "/api/v1/usage/batch"])
async def test_other_media_types_are_refused(
    api: httpx2.AsyncClient, customer_id: str, path: str, media_type: str
) -> None:
    body = json.dumps(document(customer_id))

    answer = await api.post(path, content=body, headers={"Content-Type": media_type})

    assert problem(answer) == (415, "unsupported-media-type")


async def test_cloud_events_are_for_usage_only(api: httpx2.AsyncClient) -> None:
    headers = {**CLOUD_EVENT, "Idempotency-Key": uuid4().hex}

    answer = await api.post("/api/v1/orders", content="{}", headers=headers)

    assert answer.status_code == 415


async def test_bodies_are_bounded(api: httpx2.AsyncClient) -> None:
    for path, size in (("/api/v1/usage", 256 * 1024), ("/api/v1/usage/batch", 1024 * 1024)):
        answer = await api.post(path, content=b" " * (size + 1), headers=JSON)
        assert problem(answer) == (413, "payload-too-large")


async def test_concurrent_events_each_get_their_own_answer(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    """They share transactions: repeats, conflicts and strangers among them change nothing."""
    bodies = [document(customer_id, f"e-{number}") for number in range(50)]
    conflicting = [{**body, "quantity": 2} for body in bodies]
    strangers = [document(f"c-{uuid4().hex}") for _ in range(10)]

    answers = await asyncio.gather(
        *(post(api, body) for body in [*bodies, *bodies, *conflicting, *strangers])
    )

    statuses = [answer.status_code for answer in answers]
    counted = [answer.json()["status"] for answer in answers if answer.status_code == 202]
    assert counted.count("ACCEPTED") == 50
    assert (statuses.count(202) + statuses.count(409), statuses.count(404)) == (150, 10)
    assert len(await quantities(database, customer_id)) == 50


async def test_a_caller_who_goes_away_takes_nobody_along(
    api: httpx2.AsyncClient, database: Database, customer_id: str
) -> None:
    bodies = [document(customer_id) for _ in range(40)]
    posts = [asyncio.create_task(post(api, body)) for body in bodies]
    await asyncio.sleep(0)
    for gone in posts[::2]:
        gone.cancel()

    answers = await asyncio.gather(*posts[1::2])

    assert {answer.json()["status"] for answer in answers} == {"ACCEPTED"}


async def test_events_without_a_partition_are_counted_for_an_alarm(
    database: Database, customer_id: str
) -> None:
    async with database.begin(SYSTEM) as tx:
        far = datetime(2060, 1, 1, tzinfo=UTC)
        await usage.ingest(tx, [event(customer_id, occurred_at=far)])

    async with database.statements(SYSTEM) as tx:
        assert (await figures(tx)).unplaced >= 1


async def test_the_documented_bodies_name_the_fields(api: httpx2.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]

    for path, media_types in (
        ("/api/v1/usage", {"application/json", "application/cloudevents+json"}),
        ("/api/v1/usage/batch", {"application/json", "application/cloudevents-batch+json"}),
    ):
        content = paths[path]["post"]["requestBody"]["content"]
        assert content.keys() == media_types
    schema = paths["/api/v1/usage"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == set(document("c"))
