"""Webhooks as a receiver meets them: signed, twice, out of order, late, after a restart."""

from __future__ import annotations

import queue
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from tests.support.conditions import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dev.simulator.conftest import Gateway, StartGateway


class Receiver:
    """A real HTTP server that answers 500 `failures` times and 204 then."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.failures = 0
        self.refused = 0
        self.received: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.failures > 0:
                    receiver.failures -= 1
                    receiver.refused += 1
                    self.send_response(500)
                else:
                    receiver.received.put((dict(self.headers.items()), body))
                    self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def next(self) -> dict[str, Any]:
        """The next webhook's body, its signature checked."""
        headers, body = self.received.get(timeout=PATIENCE_SECONDS)
        event: dict[str, Any] = Webhook(self.secret).verify(body, headers)
        assert {name.lower(): value for name, value in headers.items()}["webhook-id"] == event["id"]
        return event

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver(webhook_secret: str) -> Iterator[Receiver]:
    receiver = Receiver(webhook_secret)
    yield receiver
    receiver.close()


@pytest.fixture
def announcing(gateway: Gateway, receiver: Receiver) -> Iterator[Gateway]:
    """A gateway that sends its webhooks to `receiver`."""
    gateway.client.put("/control/webhook", json={"url": receiver.url})
    yield gateway
    gateway.client.put("/control/webhook", json={"url": None})


def test_every_effect_is_announced_in_order_and_signed(
    announcing: Gateway, receiver: Receiver
) -> None:
    announcing.charge("o-1")
    announcing.charge("o-1")  # A replay is no effect.
    announcing.charge("o-2", "4000000000000002")
    announcing.charge("o-3", capture=False)
    announcing.void("o-3")
    announcing.refund("o-1", "r-1", 10)

    events = [receiver.next() for _ in range(5)]

    assert [(event["type"], event["orderId"]) for event in events] == [
        ("payment.captured", "o-1"),
        ("payment.declined", "o-2"),
        ("payment.authorized", "o-3"),
        ("payment.voided", "o-3"),
        ("payment.refunded", "o-1"),
    ]
    assert [event.get("refundId") for event in events] == [None, None, None, None, "r-1"]
    assert all(event["id"].startswith("evt_") and event["occurredAt"] for event in events)
    assert receiver.received.empty()


def test_a_webhook_comes_twice_and_one_comes_after_a_later_one(
    announcing: Gateway, receiver: Receiver
) -> None:
    announcing.charge("twice", "4000000000021008")
    assert receiver.next() == receiver.next()

    announcing.charge("first", "4000000000022006")
    announcing.behave("charge", "webhook-duplicated")
    announcing.charge("second")
    orders = [receiver.next()["orderId"] for _ in range(3)]

    assert orders == ["second", "second", "first"]


def test_a_late_capture_is_announced_when_it_happens(
    announcing: Gateway, receiver: Receiver
) -> None:
    announcing.behave("charge", "late-capture", seconds=4)
    announcing.charge_in_vain("o-1")

    assert receiver.next()["type"] == "payment.captured"
    assert announcing.inquire("o-1").status_code == 200


def test_a_refused_webhook_is_sent_again(announcing: Gateway, receiver: Receiver) -> None:
    receiver.failures = 2

    announcing.charge("o-1")

    assert receiver.next()["orderId"] == "o-1"
    assert receiver.refused == 2


def test_a_restart_delivers_what_was_not_delivered(
    start_gateway: StartGateway, receiver: Receiver, webhook_secret: str
) -> None:
    closed = Receiver(webhook_secret)
    closed.close()
    options = ("--webhook-secret", webhook_secret)
    gateway = start_gateway(*options, "--webhook-url", closed.url)
    gateway.charge("o-1")
    gateway.stop(signal.SIGKILL)

    gateway.arguments = (*options, "--webhook-url", receiver.url)
    gateway.start()

    assert receiver.next()["orderId"] == "o-1"


def test_the_address_is_changed_by_a_call_and_kept(
    start_gateway: StartGateway, receiver: Receiver, webhook_secret: str
) -> None:
    gateway = start_gateway("--webhook-secret", webhook_secret)
    gateway.charge("unheard")
    put = gateway.client.put("/control/webhook", json={"url": receiver.url})
    assert put.json() == {"url": receiver.url}
    gateway.charge("o-1")
    assert receiver.next()["orderId"] == "o-1"

    gateway.stop(signal.SIGKILL)
    gateway.start()
    gateway.charge("o-2")
    while receiver.next()["orderId"] != "o-2":
        pass  # At least once: the kill may have come before the gateway noted the first one.


def test_without_a_secret_no_address_is_taken(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    put = gateway.client.put("/control/webhook", json={"url": "http://127.0.0.1:9/"})

    assert (put.status_code, put.json()["code"]) == (422, "no-webhook-secret")
    assert gateway.client.put("/control/webhook", json={"url": None}).status_code == 200
