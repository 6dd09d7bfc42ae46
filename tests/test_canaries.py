"""What a caller says of a person, or in confidence, is found where it must be and nowhere else.

Canaries go into every such field of a whole installation with keys, which then pays, declines,
refunds and bills a month. All that it keeps is read raw: Temporal's histories and files, every
column of PostgreSQL, Valkey, Kafka, the traces that it sends, and the logs of all its processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from redis import Redis
from sqlalchemy import text
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client

from dev import process, services
from dev.stack import SimulatorOptions, Stack, durable_stack, temporary_directory
from domain.event import TOPICS
from domain.period import Period
from runtime import schema
from tests.conftest import SECRET
from tests.support.collector import Collector, collecting_beside
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.sealing import OLD

GOOD, BAD = "bk_4242424242424242", "bk_4000000000000002"
"""The gateway takes only these."""


@dataclass(frozen=True)
class Installation:
    """Processes of `make dev`, with keys and empty tables, and whoever calls them."""

    stack: Stack
    http: httpx2.Client
    collector: Collector
    key: str = field(default_factory=lambda: f"key-of-{uuid4().hex}")
    token: str = field(default_factory=lambda: f"token-{uuid4().hex}")
    person: str = field(default_factory=lambda: f"Kim-{uuid4().hex}")

    def post(self, path: str, body: dict[str, Any], wish: str = "", **query: str) -> dict[str, Any]:
        """With a key that begins as all of them do."""
        headers = {
            "Idempotency-Key": f"{self.key}-{wish}{uuid4().hex}",
            "Authorization": f"Bearer {self.token}",
            "Cookie": f"session={self.token}",
            "User-Agent": self.person,
            "baggage": f"name={self.person}",
            "tracestate": f"name={self.person}",
        }
        answer = self.http.post(path, json=body, headers=headers, params=query)
        assert answer.status_code < 300, answer.text
        return dict(answer.json())

    def put(self, path: str, body: dict[str, Any]) -> None:
        answer = self.http.put(path, json=body)
        assert answer.status_code < 300, answer.text


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with temporary_directory() as directory, collecting_beside() as (collector, traces):
        simulator = SimulatorOptions("http://127.0.0.1:9/unused", SECRET)
        # With files of its own, in which is searched.
        with durable_stack(
            directory, TOPICS, simulator, ui_port=process.free_port(), environment={}
        ) as stack:
            schema.upgrade(stack.endpoints.database_owner_url)
            port = process.free_port()
            settings = services.environment(stack, payload_keys=OLD, sweep_seconds=1)
            settings |= {"GATEWAY_WEBHOOK_SECRET": SECRET, "API_WAIT_SECONDS": "60"}
            settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": traces}
            ours = [
                services.start_api(stack, port, settings),
                services.start_worker(stack, "worker", settings),
            ]
            try:
                process.wait_until_ready(ours)
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
                    yield Installation(stack, http, collector)
            finally:
                process.stop(ours)


@pytest.fixture(scope="module")
def lived(installation: Installation) -> Installation:
    """A payment that succeeds, one that is declined, a refund, and a month with its charge."""
    one = installation
    month = Period.containing(datetime.now(UTC) - timedelta(days=40), "UTC")
    charge = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
    terms = {"currency": "KRW", "effectiveFrom": "2020-01-01T00:00:00Z", "charges": [charge]}
    one.put("/api/v1/pricing-plans/STANDARD", terms)
    for customer, card in (("c-good", GOOD), ("c-bad", BAD)):
        plan = {"planCode": "STANDARD", "planFrom": "2020-01-01T00:00:00Z"}
        one.put(f"/api/v1/customers/{customer}", plan)
        one.post(
            f"/api/v1/customers/{customer}/payment-methods",
            {"billingKey": card, "last4": card[-4:]},
        )
    paid = pay(one, "c-good")
    assert paid["status"] == "COMPLETED"
    declined = pay(one, "c-bad")
    assert declined["status"] == "FAILED"
    refund = {"paymentId": paid["id"], "amount": 500, "reason": f"{one.person} called"}
    assert one.post("/api/v1/refunds", refund)["status"] == "COMPLETED"
    used = {
        "eventId": uuid4().hex,
        "customerId": "c-good",
        "resourceType": "API_CALL",
        "quantity": "700",
        "occurredAt": f"{month}-03T00:00:00Z",
    }
    one.post("/api/v1/usage", used)
    one.post("/api/v1/settlement/run", {}, customerId="c-good", period=str(month))
    return one


def pay(one: Installation, customer: str) -> dict[str, Any]:
    item = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
    wanted = {"currency": "KRW", "items": [item], "customerId": customer}
    order = one.post("/api/v1/orders", wanted)
    return one.post("/api/v1/payments", {"orderId": order["id"], "method": "CARD"})


async def everything(one: Installation) -> dict[str, list[bytes]]:
    """Whatever is kept, as it is kept, by where."""
    return {
        **await temporal(one.stack),
        **await postgresql(one.stack),
        "valkey": valkey(one.stack),
        "kafka": kafka(one.stack),
        "traces": list(one.collector.raw),
        **logs(one.stack),
    }


async def temporal(stack: Stack) -> dict[str, list[bytes]]:
    client = await Client.connect(stack.endpoints.temporal_address, namespace="billing")
    histories = []
    async for each in client.list_workflows():
        request = GetWorkflowExecutionHistoryRequest(namespace="billing")
        request.execution.workflow_id, request.execution.run_id = each.id, each.run_id
        history = await client.workflow_service.get_workflow_execution_history(request)
        histories.append(history.SerializeToString())
        histories.append(each.raw_info.SerializeToString())
    files = stack.directory.glob("temporal.sqlite*")
    return {"temporal": histories, "temporal's files": [path.read_bytes() for path in files]}


async def postgresql(stack: Stack) -> dict[str, list[bytes]]:
    """By table and column."""
    found: dict[str, list[bytes]] = {}
    columns = (
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    async with connected(stack.endpoints.database_owner_url) as pool, pool.engine.connect() as tx:
        for table, column in (await tx.execute(text(columns))).all():
            values = await tx.execute(text(f'SELECT "{column}"::text FROM "{table}"'))  # noqa: S608
            found[f"{table}.{column}"] = [(value or "").encode() for (value,) in values.all()]
    return found


def valkey(stack: Stack) -> list[bytes]:
    with Redis.from_url(stack.endpoints.redis_url) as redis:
        return [part for key in redis.scan_iter() for part in (key, *_values(redis, key))]


def _values(redis: Redis, key: bytes | str) -> list[bytes | str]:
    """What a key holds: most a text, the set of workers that speak of gateways its members."""
    if redis.type(key) == b"set":
        return [*redis.smembers(key)]
    return [redis.get(key) or b""]


def kafka(stack: Stack) -> list[bytes]:
    """Every message of every topic, from the first one on."""
    servers = stack.endpoints.kafka_bootstrap_servers
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "search"})
    left = 0
    places = []
    for topic in consumer.list_topics().topics.values():
        for partition in topic.partitions:
            place = TopicPartition(topic.topic, partition, OFFSET_BEGINNING)
            if end := consumer.get_watermark_offsets(place)[1]:
                places.append(place)
                left += end
    consumer.assign(places)
    found = []
    while left:
        message = consumer.poll(60)
        assert message is not None, f"{left} messages do not come"
        assert message.error() is None
        left -= 1
        found += [message.key() or b"", message.value() or b""]
        found.append(repr(message.headers()).encode())
    consumer.close()
    return found


def logs(stack: Stack) -> dict[str, list[bytes]]:
    """Of all processes but the PG, which must know the cards."""
    paths = [path for path in stack.directory.rglob("*.log") if path.name != "gateway.log"]
    return {path.name: [path.read_bytes()] for path in paths}


def places(kept: dict[str, list[bytes]], canary: str) -> set[str]:
    """Where it stands, in clear."""
    return {
        place for place, values in kept.items() if any(canary.encode() in each for each in values)
    }


async def test_what_is_personal_stands_nowhere_in_clear_but_where_it_must(
    lived: Installation,
) -> None:
    async with connected(lived.stack.endpoints.database_owner_url) as pool:

        async def all_is_done() -> bool:
            async with pool.engine.connect() as tx:
                waiting = await tx.scalar(
                    text("SELECT count(*) FROM outbox WHERE published_at IS NULL")
                )
                paid = await tx.scalar(text("SELECT count(*) FROM invoices WHERE status = 'PAID'"))
            return (waiting, paid) == (0, 1)

        await eventually(all_is_done)

    async def all_is_seen() -> dict[str, list[bytes]]:
        """Temporal lists a workflow a moment after it began, and a span is sent within seconds."""
        found = await everything(lived)
        whole = b"CompleteWorkflow:InvoiceRetry" in b"".join(found["traces"])
        many = len(found["temporal"]) >= 10 and len(found["kafka"]) >= 30
        return found if whole and many else {}

    kept = await eventually(all_is_seen)

    assert kept["valkey"]
    assert {"api.log", "worker.log", "temporal.log", "postgresql.log"} <= set(kept)
    for secret in (GOOD, GOOD[3:], BAD, BAD[3:], lived.token):
        assert places(kept, secret) == set(), secret
    # A caller's key is a promise to callers, and a reason is text of an operator for others. The
    # audit trail keeps what callers said of themselves.
    assert places(kept, lived.key) <= {
        *("idempotency_keys.key", "outbox.idempotency_key", "kafka"),
        *(f"{table}.idempotency_key" for table in ("orders", "payments", "refunds")),
    }
    assert places(kept, lived.person) <= {
        *("refunds.reason", "outbox.data", "kafka", "idempotency_keys.response_body"),
        *("audit_entries.reason", "audit_entries.user_agent"),
    }


async def test_what_is_planted_is_found_in_each_of_the_stores(lived: Installation) -> None:
    stack, canary = lived.stack, f"planted-{uuid4().hex}"
    client = await Client.connect(stack.endpoints.temporal_address, namespace="billing")
    await client.start_workflow("Nobody", canary, id=uuid4().hex, task_queue="nobody")
    async with connected(stack.endpoints.database_owner_url) as pool, pool.engine.begin() as tx:
        await tx.execute(text("INSERT INTO customers (id) VALUES (:id)"), {"id": canary})
    with Redis.from_url(stack.endpoints.redis_url) as redis:
        redis.set("planted", canary)
    producer = Producer({"bootstrap.servers": stack.endpoints.kafka_bootstrap_servers})
    producer.produce(TOPICS[0], b"{}", headers={"x": canary.encode()})
    assert producer.flush(60) == 0
    with (Path(stack.directory) / "worker.log").open("a") as log:
        log.write(canary)

    async def found() -> bool:
        return places(await everything(lived), canary) == {
            *("temporal", "temporal's files", "customers.id", "valkey", "kafka", "worker.log"),
        }

    await eventually(found)
