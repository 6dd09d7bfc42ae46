"""Traces: one per request, through every part, nothing personal in it, and never in the way."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from dev import process, services
from dev.stack import SimulatorOptions, Stack, temporary_stack
from domain.event import TOPICS
from runtime import temporal
from runtime.settings import Settings
from tests.conftest import SECRET
from tests.support.collector import Collector, Span, collecting
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.local_server import Request, Response, local_server
from workflows.payment_saga import PaymentSaga

CARD = "bk_4242424242424242"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    simulator = SimulatorOptions("http://127.0.0.1:9/unused", SECRET)
    with temporary_stack(TOPICS, simulator) as made:
        services.prepare(made, lambda _1, _2: None)
        yield made


@dataclass(frozen=True)
class Caller:
    """Calls the API with something personal wherever a request can have it."""

    http: httpx2.AsyncClient
    person: str
    key: str

    async def order(self, amount: int) -> str:
        item = {"sku": "UNTRACKED", "quantity": 1, "unitPrice": amount}
        body = {"currency": "KRW", "items": [item], "customerId": "demo"}
        return str((await self.post("/api/v1/orders", body))["id"])

    async def pay(self, order_id: str, trace: str | None = None) -> Any:
        return await self.post("/api/v1/payments", {"orderId": order_id, "method": "CARD"}, trace)

    async def post(self, path: str, body: dict[str, Any], trace: str | None = None) -> Any:
        headers = {
            "Idempotency-Key": f"{self.key}-{uuid4().hex}",
            "User-Agent": self.person,
            "tracestate": f"vendor={self.person}",
            "baggage": f"name={self.person}",
        }
        if trace is not None:
            headers["traceparent"] = trace
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()


@asynccontextmanager
async def in_front_of(gateway: str) -> AsyncIterator[tuple[list[Request], str]]:
    """What the gateway is sent, and where to send it."""
    seen: list[Request] = []

    async def hand_on(request: Request) -> Response:
        seen.append(request)
        answer = await http.request(
            request.method, request.path, headers=request.headers, content=request.body
        )
        return Response(answer.status_code, answer.json())

    async with httpx2.AsyncClient(base_url=gateway) as http, local_server(hand_on) as address:
        yield seen, address


@asynccontextmanager
async def installation(stack: Stack, endpoint: str, **settings: str) -> AsyncIterator[Caller]:
    """An API and a worker that send their traces there, and a caller."""
    port = process.free_port()
    environment = {
        **services.environment(stack, api_wait_seconds=PATIENCE_SECONDS),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        **settings,
    }
    ours = [
        services.start_api(stack, port, environment),
        services.start_worker(stack, "worker", environment),
    ]
    try:
        await asyncio.to_thread(process.wait_until_ready, ours)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS
        ) as http:
            yield Caller(http, f"Kim-{token_hex(8)}", f"key-{token_hex(8)}")
    finally:
        await asyncio.to_thread(process.stop, ours)


def way(spans: dict[str, Span], span: Span) -> tuple[str, ...]:
    """How it came about: the names from the first span of ours down to this one."""
    above = spans.get(span.parent_id)
    return (*(way(spans, above) if above else ()), span.name)


async def test_a_paid_order_is_one_trace_from_the_request_to_whoever_reads_its_events(
    stack: Stack,
) -> None:
    trace_id, caller_s = token_hex(16), token_hex(8)
    request = "POST /api/v1/payments"
    saga = (request, "StartWorkflow:PaymentSaga")
    charge = (*saga, "StartActivity:gateway.charge", "RunActivity:gateway.charge")
    complete = (*saga, "StartActivity:payment.complete", "RunActivity:payment.complete")
    wanted = {
        ("billing-api", (request, "INSERT INTO idempotency_keys")),
        ("billing-api", saga),
        ("billing-worker", (*saga, "RunWorkflow:PaymentSaga")),
        ("billing-worker", (*charge, "POST")),
        ("billing-worker", (*complete, "UPDATE payments")),
        ("billing-worker", (*saga, "CompleteWorkflow:PaymentSaga")),
        ("billing-worker", (request, "process billing.order.completed")),
    }
    async with (
        collecting() as (collector, endpoint),
        in_front_of(stack.endpoints.gateway_url) as (called, gateway),
        installation(stack, endpoint, GATEWAY_URL=gateway) as caller,
    ):
        await caller.post(
            "/api/v1/customers/demo/payment-methods", {"billingKey": CARD, "last4": "4242"}
        )
        order_id = await caller.order(987_654)
        paid = await caller.pay(order_id, f"00-{trace_id}-{caller_s}-01")
        assert paid["status"] == "COMPLETED"

        def ways() -> set[tuple[str, tuple[str, ...]]]:
            spans = collector.of_trace(trace_id)
            return {(each.service, way(spans, each)) for each in spans.values()}

        async def all_there() -> bool:
            return wanted <= ways()

        try:
            await eventually(all_there)
        except AssertionError:
            pytest.fail(f"{sorted(wanted - ways())} not in\n" + "\n".join(map(str, sorted(ways()))))
        await check_that_who_works_for_many_works_in_no_trace(collector, caller)
        await check_that_a_run_s_trace_ends_at_its_customers(collector, caller)
        audited = (await caller.http.get("/api/v1/audit", params={"traceId": trace_id})).json()

    await check_that_it_goes_on_without_traces(stack, paid["workflowId"])
    spans = collector.of_trace(trace_id)
    outside = {each.parent_id for each in spans.values()} - spans.keys()
    assert outside == {caller_s}
    [told] = {each.headers["traceparent"] for each in called if each.path == "/v1/charges"}
    [call] = [each for each in spans.values() if way(spans, each) == (*charge, "POST")]
    assert told == f"00-{trace_id}-{call.span_id}-01"
    assert [each["targetId"] for each in audited["items"]] == [paid["id"]]
    check_only_requests_begin_traces(collector)
    check_nothing_personal_left(collector, caller)


async def check_that_who_works_for_many_works_in_no_trace(
    collector: Collector, caller: Caller
) -> None:
    """One statement counts whatever has come meanwhile."""
    used = {
        "eventId": uuid4().hex,
        "customerId": "demo",
        "resourceType": "API_CALL",
        "quantity": "1",
        "occurredAt": "2026-05-03T00:00:00Z",
    }
    await caller.post("/api/v1/usage", used)

    async def has_come() -> bool:
        return any(each.name == "POST /api/v1/usage" for each in collector.spans)

    await eventually(has_come)
    [counted] = [each for each in collector.spans if each.name == "POST /api/v1/usage"]
    below = collector.of_trace(counted.trace_id)
    assert [each.name for each in below.values() if "usage_" in each.name] == []


async def check_that_a_run_s_trace_ends_at_its_customers(
    collector: Collector, caller: Caller
) -> None:
    await caller.post("/api/v1/settlement/runs", {"period": "2026-05"})

    async def has_ended() -> bool:
        return any(each.name == "CompleteWorkflow:SettlementRun" for each in collector.spans)

    await eventually(has_ended)
    assert not any("MonthlySettlement" in each.name for each in collector.spans)


async def check_that_it_goes_on_without_traces(stack: Stack, workflow_id: str) -> None:
    addresses = stack.endpoints.environment()
    client = await temporal.connect_later(
        Settings.model_validate({name.lower(): value for name, value in addresses.items()})
    )
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    assert "_tracer-data" in history.to_json()

    runner = UnsandboxedWorkflowRunner()
    replayer = Replayer(
        workflows=[PaymentSaga], data_converter=temporal.IN_CLEAR, workflow_runner=runner
    )
    await replayer.replay_workflow(history)


def check_only_requests_begin_traces(collector: Collector) -> None:
    """Not the sweeper, the relay, or whatever else goes by the clock."""
    first = {each.name for each in collector.spans if not each.parent_id}
    assert "POST /api/v1/orders" in first
    assert {name.partition(" ")[0] for name in first} <= {"GET", "POST"}


def check_nothing_personal_left(collector: Collector, caller: Caller) -> None:
    sent = b"".join(collector.raw)
    assert b"payment/" in sent
    for canary in (caller.person, caller.key, CARD, "987654", "127.0.0.1", "customerId=demo"):
        assert canary.encode() not in sent, canary


async def test_a_collector_that_never_answers_holds_up_no_payment(stack: Stack) -> None:
    async with collecting() as (collector, endpoint):
        collector.answers.clear()
        async with installation(stack, endpoint) as caller:
            await caller.order(1000)

            async def is_held() -> bool:
                return bool(collector.raw)

            await eventually(is_held)
            paid = await caller.pay(await caller.order(1000))

            assert paid["status"] == "COMPLETED"
        # The processes have ended, too.
        assert collector.spans == []


async def test_a_collector_that_is_away_fails_no_payment(stack: Stack) -> None:
    async with installation(stack, f"http://127.0.0.1:{process.free_port()}") as caller:
        paid = await caller.pay(await caller.order(1000))

        assert paid["status"] == "COMPLETED"


def test_without_an_endpoint_nothing_that_makes_spans_is_imported() -> None:
    program = """
import sys
import cli.main, worker, api.app, runtime.processes
from runtime.settings import Settings
api.app.create_app(Settings(billing_environment="dev"))
# The Redis client imports the metrics of the SDK wherever it is installed.
makers = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "temporalio.contrib.opentelemetry")
print([name for name in sys.modules if name.startswith(makers) or name == "runtime.spans"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
