"""The gateway simulator as its users have it: the real program, in its own process, over HTTP."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.conditions import PATIENCE_SECONDS, eventually_beside_the_loop

ROOT = Path(__file__).parents[3]
APPROVED = "4242424242424242"
WEBHOOK_SECRET = "whsec_c2ltdWxhdG9yLXRlc3Qtc2VjcmV0"

IN_VAIN = httpx2.Timeout(PATIENCE_SECONDS, read=0.05)
"""For a call that is not answered, or only long after: its caller gives up, but not before the
request has gone out."""


class Gateway:
    """A running simulator and the words of the stories told about it."""

    def __init__(self, book: Path, *arguments: str) -> None:
        self.book = book
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "dev.simulator", "--port", "0", "--book", str(self.book)]
        self.process = subprocess.Popen(
            [*command, *self.arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        self.client.close()
        self.process.send_signal(sig)
        self.process.wait(PATIENCE_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def post(self, path: str, body: object, key: str, **options: Any) -> httpx2.Response:
        headers = {"Idempotency-Key": key}
        return self.client.post(path, json=body, headers=headers, **options)

    def charge(
        self,
        order: str,
        card: str = APPROVED,
        key: str | None = None,
        amount: int = 1000,
        capture: bool = True,
        **options: Any,
    ) -> httpx2.Response:
        body = {
            "orderId": order,
            "amount": amount,
            "currency": "KRW",
            "billingKey": f"bk_{card}",
            "capture": capture,
        }
        return self.post("/v1/charges", body, key or f"charge-{order}", **options)

    def charge_in_vain(self, order: str, card: str = APPROVED) -> None:
        """A charge whose caller waits for its answer in vain, and gives up."""
        with pytest.raises(httpx2.ReadTimeout):
            self.charge(order, card, timeout=IN_VAIN)

    def refund(
        self, order: str, refund: str, amount: int, key: str | None = None
    ) -> httpx2.Response:
        body = {"refundId": refund, "amount": amount, "currency": "KRW"}
        return self.post(f"/v1/payments/{order}/refunds", body, key or f"refund-{refund}")

    def void(self, order: str, key: str | None = None) -> httpx2.Response:
        return self.post(f"/v1/payments/{order}/void", {}, key or f"void-{order}")

    def inquire(self, order: str) -> httpx2.Response:
        return self.client.get(f"/v1/payments/{order}")

    def payments(self, order: str | None = None) -> list[dict[str, Any]]:
        """Every payment in the book (of one order)."""
        query = {} if order is None else {"orderId": order}
        book = self.client.get("/v1/book", params=query).json()
        payments: list[dict[str, Any]] = book["payments"]
        return payments

    def until_the_queue_is_empty(self) -> None:
        """Wait until every call for which a behaviour was queued has arrived."""
        eventually_beside_the_loop(
            lambda: not self.client.get("/control/behaviours").json()["behaviours"]
        )

    def behave(self, operation: str, behaviour: str, **details: object) -> None:
        body = {"operation": operation, "behaviour": behaviour, **details}
        assert self.client.post("/control/behaviours", json=body).status_code == 201


StartGateway = Callable[..., Gateway]


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways of one's own: `start_gateway("--seed", "7", book="other")`."""
    started: list[Gateway] = []

    def start(*arguments: str, book: str = "book") -> Gateway:
        gateway = Gateway(tmp_path / f"{book}.sqlite", *arguments)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    book = tmp_path_factory.mktemp("gateway") / "book.sqlite"
    gateway = Gateway(book, "--time-scale", "20", "--webhook-secret", WEBHOOK_SECRET)
    yield gateway
    gateway.stop()


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway with an empty book whose seconds are 50 ms."""
    assert shared_gateway.client.post("/control/reset").status_code == 200
    return shared_gateway


@pytest.fixture
def webhook_secret() -> str:
    return WEBHOOK_SECRET
