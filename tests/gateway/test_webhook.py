"""Webhooks are believed only with a signature of the PG, of now, over these very bytes."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from domain.errors import SignatureInvalid
from gateway.webhook import verify
from runtime.settings import Settings
from tests.support.conditions import patience

SECRET = "whsec_dGhlLXNlY3JldC1vZi10aGVzZS10ZXN0cw=="
OTHER = "whsec_YW5vdGhlci1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="
BODY = json.dumps({"id": "evt_1", "type": "payment.captured", "orderId": "p-1", "name": "카드"})


def signed(body: str = BODY, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, str]:
    at = datetime.now(UTC) - age
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body),
    }


def test_a_signed_webhook_is_read() -> None:
    assert verify([SECRET], BODY.encode(), signed()) == json.loads(BODY)


def test_the_names_of_headers_may_come_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}

    assert verify([SECRET], BODY.encode(), headers)["id"] == "evt_1"


def test_while_the_secret_is_changed_one_of_two_signatures_is_enough() -> None:
    headers = signed()
    other = signed(secret=OTHER)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,unknown {other} {headers['webhook-signature']}"

    assert verify([SECRET], BODY.encode(), headers)["id"] == "evt_1"


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_while_our_own_secret_is_changed_the_old_and_the_new_one_are_good(secret: str) -> None:
    assert verify([SECRET, OTHER], BODY.encode(), signed(secret=secret))["id"] == "evt_1"


@pytest.mark.parametrize("age", [timedelta(minutes=4), timedelta(minutes=-4)])
def test_clocks_may_differ_a_little(age: timedelta) -> None:
    assert verify([SECRET], BODY.encode(), signed(age=age))["id"] == "evt_1"


def without(name: str) -> dict[str, str]:
    return {each: value for each, value in signed().items() if each != name}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param(without("webhook-id"), id="no id"),
        pytest.param(without("webhook-timestamp"), id="no time"),
        pytest.param(without("webhook-signature"), id="no signature"),
        pytest.param(signed() | {"webhook-id": "evt_2"}, id="another id"),
        pytest.param(signed() | {"webhook-timestamp": "0"}, id="1970"),
        pytest.param(signed() | {"webhook-timestamp": "nan"}, id="not a number"),
        pytest.param(signed() | {"webhook-timestamp": "9" * 400}, id="after the end of time"),
        pytest.param(signed() | {"webhook-timestamp": "yesterday"}, id="words"),
        pytest.param(signed() | {"webhook-signature": "v1"}, id="half a signature"),
        pytest.param(signed() | {"webhook-signature": "v1,not base64"}, id="not base64"),
        pytest.param(signed() | {"webhook-signature": "v1,카드"}, id="not ASCII"),
        pytest.param(signed() | {"webhook-signature": "v1,"}, id="empty"),
        pytest.param(signed(secret=OTHER), id="another secret"),
        pytest.param(signed(age=timedelta(minutes=6)), id="too old"),
        pytest.param(signed(age=timedelta(minutes=-60)), id="from the future"),
        pytest.param(signed(BODY.replace("p-1", "p-2")), id="another body"),
    ],
)
def test_what_does_not_verify_is_refused(headers: Mapping[str, str]) -> None:
    with pytest.raises(SignatureInvalid, match="does not hold"):
        verify([SECRET], BODY.encode(), headers)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"", BODY.encode() + b" "])
def test_other_bytes_than_those_signed_are_refused(body: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify([SECRET], body, signed())


def test_signed_nonsense_is_refused_too() -> None:
    with pytest.raises(SignatureInvalid):
        verify([SECRET], b"not JSON", signed("not JSON"))


async def test_a_webhook_of_the_simulator_verifies(
    simulator: httpx2.AsyncClient, settings: Settings
) -> None:
    secrets = settings.gateway_webhook_secrets
    received: asyncio.Queue[tuple[bytes, dict[str, str]]] = asyncio.Queue()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        length = next(value for name, value in headers.items() if name.lower() == "content-length")
        await received.put((await reader.readexactly(int(length)), headers))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    order_id = f"order-{uuid4().hex}"
    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await put_webhook(simulator, f"http://127.0.0.1:{port}/")
        try:
            await charge(simulator, order_id)
            async with patience():
                body, headers = await received.get()
                while json.loads(body)["orderId"] != order_id:
                    body, headers = await received.get()
        finally:
            await put_webhook(simulator, None)

    assert verify(secrets, body, headers)["orderId"] == order_id
    with pytest.raises(SignatureInvalid):
        verify(secrets, body.replace(b"order-", b"other-"), headers)


async def put_webhook(simulator: httpx2.AsyncClient, url: str | None) -> None:
    assert (await simulator.put("/control/webhook", json={"url": url})).status_code == 200


async def charge(simulator: httpx2.AsyncClient, order_id: str) -> None:
    body = {
        "orderId": order_id,
        "amount": 1_000,
        "currency": "KRW",
        "billingKey": "bk_4242424242424242",
    }
    answer = await simulator.post("/v1/charges", json=body, headers={"Idempotency-Key": order_id})
    assert answer.status_code == 201, answer.text
