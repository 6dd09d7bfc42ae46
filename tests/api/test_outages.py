"""What breaks, breaks: no caller sees a 5xx for a payment that could be accepted, nothing is lost,
nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client

from api.app import create_app
from dev import process, services
from dev import temporal as temporal_server
from dev.process import Server
from dev.stack import Stack
from domain.access import SYSTEM
from gateway.client import PaymentGateway
from runtime import temporal, terms
from runtime.settings import Settings
from runtime.sweeper import sweep, sweep_for_ever
from runtime.workers import payments_worker, running
from store.database import Database
from tests.api.documents import closed_port, refused, rows_of, silent_port
from tests.api.test_webhooks import deliver
from tests.conftest import OUR_TIME_SCALE, SECRET, served
from tests.support.billing import Billing
from tests.support.cables import cable, starting_up
from tests.support.conditions import PATIENCE_SECONDS, eventually, meanwhile
from tests.support.unfinished import payment_in_review, without_temporal


@asynccontextmanager
async def alive(server: Server) -> AsyncIterator[Server]:
    """A started server, ready, for the length of the block."""
    try:
        await asyncio.to_thread(process.wait_until_ready, [server])
        yield server
    finally:
        await asyncio.to_thread(process.stop, [server])


@asynccontextmanager
async def while_held(client: Client) -> AsyncIterator[None]:
    """A call to a dead Temporal is held for many seconds, whatever its own time-out says: what is
    answered in the block was answered meanwhile, and not because that call ended."""
    async with meanwhile(client.get_workflow_handle("nothing").describe()) as held:
        yield
        assert not held.done()


async def completed(billing: Billing, location: str) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        seen = await billing.get(location)
        return seen if seen["status"] not in ("PENDING", "UNKNOWN") else None

    ended = await eventually(over)
    assert ended is not None
    assert ended["status"] == "COMPLETED"
    return ended


async def test_the_api_is_killed_between_claim_and_start(
    stack: Stack,
    billing: Billing,
    settings: Settings,
    database: Database,
    temporal_client: Client,
) -> None:
    """Temporal takes the connection and stays silent, so the API has claimed but not started when
    it gets SIGKILL. The client never comes back; the sweeper finds the payment."""
    order_id, key = await billing.order(3000), uuid4().hex
    body = {"orderId": order_id, "method": "CARD"}
    headers = {"Idempotency-Key": key, "X-Customer-Id": billing.customer_id}

    with silent_port() as silent:
        port = closed_port()
        environment = services.environment(
            stack,
            gateway_webhook_secret=SECRET,
            time_scale=OUR_TIME_SCALE,
            temporal_address=f"127.0.0.1:{silent}",
            api_wait_seconds=3600,
        )
        url = f"http://127.0.0.1:{port}"
        async with (
            alive(services.start_api(stack, port, environment)) as api,
            httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http,
        ):
            asking = asyncio.create_task(http.post("/api/v1/payments", json=body, headers=headers))
            claimed = await eventually(lambda: _payments_of(billing, order_id))
            api.process.kill()
            with pytest.raises(httpx2.TransportError):
                await asking

    [pending] = claimed
    assert pending["status"] == "PENDING"
    assert (await billing.book(pending["id"]))["payments"] == []
    await sweep(temporal_client, database, terms.of(settings), datetime.now(UTC))

    ended = await completed(billing, f"/api/v1/payments/{pending['id']}")
    assert (await billing.book(ended["id"]))["totals"]["KRW"]["captured"] == 3000
    repeat = await billing.post("/api/v1/payments", body, key)
    assert (repeat.status_code, repeat.headers["Idempotency-Replayed"]) == (201, "true")
    assert (await rows_of(database, billing.customer_id))["payments"] == 1


async def _payments_of(billing: Billing, order_id: str) -> list[dict[str, Any]]:
    answer = await billing.api.get("/api/v1/payments", params={"orderId": order_id})
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_temporal_is_down_and_comes_back(
    billing: Billing,
    settings: Settings,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    tmp_path: Path,
) -> None:
    """Scaled: it is away for as long as two payments and its restart need (2-3 s) instead of 30 s,
    the API waits 0.5 s instead of 3, and the sweeper comes every 0.2 s instead of every 10.

    One payment was started before. One API was connected before, another one starts while Temporal
    is away: both accept.
    """
    port, ui_port = process.free_port(), process.free_port()
    away = settings.model_copy(
        update={"temporal_address": f"127.0.0.1:{port}", "api_wait_seconds": 0.5}
    )

    def start() -> Server:
        return temporal_server.start_with_ui(tmp_path, port, ui_port)

    amounts = (1000, 2000, 3000)
    bodies = [{"orderId": await billing.order(each), "method": "CARD"} for each in amounts]
    keys = [uuid4().hex for _ in amounts]
    accepted: list[httpx2.Response] = []

    async def pay(http: httpx2.AsyncClient) -> None:
        """The next order; whatever is down, it is accepted."""
        body, key = bodies[len(accepted)], keys[len(accepted)]
        api = replace(billing, api=http)
        answer = await api.post("/api/v1/payments", body, key)
        assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
        assert (await api.get(answer.headers["Location"]))["status"] == "PENDING"
        accepted.append(answer)
        refused(await api.post("/api/v1/payments", body, key), 409, "request-in-progress")

    async with served(create_app(away)) as earlier:
        async with alive(start()):
            client = await temporal.connect_when_ready(away)
            await pay(earlier)
        async with while_held(client):
            await pay(earlier)
        async with served(create_app(away)) as later:
            await pay(later)

    every = timedelta(seconds=0.2)
    async with (
        alive(start()),
        running(payments_worker(client, database, gateways)),
        meanwhile(sweep_for_ever(client, database, terms.of(settings), every)),
    ):
        ended = [await completed(billing, each.headers["Location"]) for each in accepted]

    for payment, amount in zip(ended, amounts, strict=True):
        book = await billing.book(payment["id"])
        assert [each["capturedAmount"] for each in book["payments"]] == [amount]
    for body, key, payment in zip(bodies, keys, ended, strict=True):
        repeat = await billing.post("/api/v1/payments", body, key)
        assert (repeat.status_code, repeat.json()) == (201, payment)


async def test_every_start_is_accepted_without_temporal(
    billing: Billing, settings: Settings
) -> None:
    """Refused connections and a silent server look the same from outside: 202 after the wait."""
    paid = await billing.pay(await billing.order(1000))
    with silent_port() as silent:
        for port in (closed_port(), silent):
            away = {"api_wait_seconds": 0.2, "temporal_address": f"127.0.0.1:{port}"}
            async with served(create_app(settings.model_copy(update=away))) as http:
                cut_off = replace(billing, api=http)
                for path, body in (
                    ("payments", {"orderId": await billing.order(), "method": "CARD"}),
                    ("refunds", {"paymentId": paid["id"], "amount": 1, "reason": "test"}),
                    ("wallet/top-ups", {"amount": 1, "currency": "KRW"}),
                ):
                    async with while_held(await silence(settings, silent)):
                        answer = await cut_off.post(f"/api/v1/{path}", body)
                    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
                    assert (await cut_off.get(answer.headers["Location"]))["status"] == "PENDING"
                assert (await cut_off.api.get("/health/ready")).status_code == 200


async def silence(settings: Settings, port: int) -> Client:
    """A client of what never answers."""
    address = {"temporal_address": f"127.0.0.1:{port}"}
    return await temporal.connect_later(settings.model_copy(update=address))


async def test_a_cancellation_asked_without_temporal_is_heard_later(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """It is noted in the row; the sweeper starts the payment and cancels it at once."""
    body = {"orderId": await billing.order(2000), "method": "CARD"}
    async with without_temporal(billing, settings) as cut_off:
        pending = await cut_off.post("/api/v1/payments", body)
        path = f"{pending.headers['Location']}/cancel"
        asked = await cut_off.post(path, {})
    assert (asked.status_code, asked.headers["Location"]) == (202, pending.headers["Location"])

    await sweep(temporal_client, billing.database, terms.of(settings), datetime.now(UTC))

    async def over() -> str | None:
        status = str((await billing.get(pending.headers["Location"]))["status"])
        return status if status in ("CANCELLED", "COMPLETED") else None

    ended = await eventually(over)
    book = await billing.book(pending.json()["id"])
    captured = book["totals"].get("KRW", {}).get("captured", 0)
    assert captured == (2000 if ended == "COMPLETED" else 0)


async def test_a_decision_is_not_taken_without_temporal_and_can_be_sent_again(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """Only the workflow can take it, so a 202 would be a promise that nobody keeps."""
    payment_id = await payment_in_review(billing, settings, temporal_client)
    path, key = f"/api/v1/payments/{payment_id}/resolve", uuid4().hex
    decision = {"outcome": "captured", "reason": "seen"}

    async with without_temporal(billing, settings) as cut_off:
        for _ in range(2):
            answer = await cut_off.post(path, decision, key)
            refused(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0

    taken = await billing.post(path, decision, key)
    assert (taken.status_code, taken.json()["status"]) == (200, "COMPLETED")


CALLS: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("POST", "/api/v1/orders", {"currency": "KRW", "items": [{"sku": "a", "quantity": 1}]}),
    ("POST", "/api/v1/payments", {"orderId": "{id}", "method": "CARD"}),
    ("POST", "/api/v1/payments/{id}/cancel", None),
    ("POST", "/api/v1/payments/{id}/resolve", {"outcome": "failed", "reason": "x"}),
    ("POST", "/api/v1/refunds", {"paymentId": "{id}", "reason": "x"}),
    ("POST", "/api/v1/refunds/{id}/resolve", {"outcome": "failed", "reason": "x"}),
    ("POST", "/api/v1/wallet/top-ups", {"amount": 1, "currency": "KRW"}),
    (
        "POST",
        "/api/v1/wallet/top-ups",
        {"amount": 1, "currency": "KRW", "source": "BANK_TRANSFER"},
    ),
    ("PUT", "/api/v1/customers/{customer}", None),
    (
        "POST",
        "/api/v1/customers/{customer}/payment-methods",
        {"billingKey": "bk_4242424242424242", "last4": "4242"},
    ),
    ("GET", "/api/v1/orders/{id}", None),
    ("GET", "/api/v1/payments/{id}", None),
    ("GET", "/api/v1/payments?orderId={id}", None),
    ("GET", "/api/v1/refunds/{id}", None),
    ("GET", "/api/v1/wallet", None),
    ("GET", "/api/v1/wallet/transactions", None),
    ("GET", "/health/ready", None),
)


async def unavailable(billing: Billing, http: httpx2.AsyncClient) -> None:
    """Every call that needs the database says so, and when to come back."""
    nothing = str(uuid4())
    for method, path, body in CALLS:
        url = path.replace("{id}", nothing).replace("{customer}", billing.customer_id)
        given = {
            name: nothing if value == "{id}" else value for name, value in (body or {}).items()
        }
        if "items" in given:
            given["items"] = [{"sku": "SKU-1", "quantity": 1, "unitPrice": 1}]
        headers = {"Idempotency-Key": uuid4().hex, "X-Customer-Id": billing.customer_id}
        content = given if body is not None else None
        answer = await http.request(method, url, json=content, headers=headers)
        refused(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    hook = await deliver(http, {"id": f"evt_{uuid4().hex}"})
    refused(hook, 503, "unavailable")
    assert (await http.get("/health/live")).status_code == 200
    # What the process counts itself is seen then most of all.
    assert (await http.get("/metrics")).status_code == 200


def at(settings: Settings, port: int) -> Settings:
    """The same, with the database elsewhere."""
    url = make_url(settings.database_url).set(host="127.0.0.1", port=port)
    return settings.model_copy(
        update={"database_url": url.render_as_string(hide_password=False), "database_pool_size": 3}
    )


async def test_postgresql_refuses_connections(billing: Billing, settings: Settings) -> None:
    async with served(create_app(at(settings, closed_port()))) as http:
        await unavailable(billing, http)


async def test_postgresql_is_still_starting(billing: Billing, settings: Settings) -> None:
    async with starting_up() as port, served(create_app(at(settings, port))) as http:
        await unavailable(billing, http)


async def test_the_line_to_postgresql_breaks_and_is_mended(
    billing: Billing, settings: Settings
) -> None:
    """What was claimed before is there after, under the same key."""
    url = make_url(settings.database_url)
    assert url.host is not None
    assert url.port is not None
    async with (
        cable(url.host, url.port) as line,
        served(create_app(at(settings, line.port))) as http,
    ):
        remote = replace(billing, api=http)
        body = {"orderId": await remote.order(1000), "method": "CARD"}
        key = uuid4().hex

        await line.cut()
        refused(await remote.post("/api/v1/payments", body, key), 503, "unavailable")
        await unavailable(billing, http)
        await line.plug()

        paid = await remote.post("/api/v1/payments", body, key)
        assert (paid.status_code, paid.json()["status"]) == (201, "COMPLETED")
        assert (await http.get("/health/ready")).status_code == 200


async def test_postgresql_ends_our_sessions(
    billing: Billing, settings: Settings, database: Database
) -> None:
    """As on its restart: each session is told so (57P01); the request after it may be repeated."""
    url = make_url(settings.database_url)
    assert url.host is not None
    assert url.port is not None
    async with (
        cable(url.host, url.port) as line,
        served(create_app(at(settings, line.port))) as http,
    ):
        remote = replace(billing, api=http)
        order_id = await remote.order(1000)
        async with database.begin(SYSTEM) as tx:
            ended = await tx.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE client_port = ANY(:ports)"
                ),
                {"ports": line.ports()},
            )
            assert ended.scalars().all() == [True]

        first = await http.get(f"/api/v1/orders/{order_id}")
        if first.status_code != 200:
            refused(first, 503, "unavailable")
        assert (await http.get(f"/api/v1/orders/{order_id}")).status_code == 200


async def test_the_pool_is_exhausted(billing: Billing, settings: Settings) -> None:
    """Scaled: one connection instead of 20, which somebody else keeps for longer than a request is
    patient, 0.1 s instead of 5. The caller is told to come back."""
    app = create_app(settings)
    async with served(app) as http:
        busy = create_async_engine(
            app.state.reading.desk.database.engine.url,
            pool_size=1,
            max_overflow=0,
            pool_timeout=0.1,
        )
        desk = replace(app.state.reading.desk, database=Database(busy))
        app.state.reading = replace(app.state.reading, desk=desk)
        try:
            async with busy.connect():
                answer = await http.get("/api/v1/wallet")
            assert (await http.get("/api/v1/wallet")).status_code == 200
        finally:
            await busy.dispose()

    refused(answer, 503, "unavailable")
