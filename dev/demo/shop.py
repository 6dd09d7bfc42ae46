"""A shop that uses the HTTP API for one customer, and looks into the gateway's own book."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from dev.demo.verdict import Unexpected, expect

CUSTOMER = "demo"
CURRENCY = "KRW"


@dataclass(frozen=True)
class Exchange:
    """A request with its key, and what was answered."""

    path: str
    body: Mapping[str, Any]
    key: str
    answer: httpx2.Response


class Shop:
    """Remembers the last request, and the ids of all orders and payments that it made."""

    def __init__(self, api: httpx2.AsyncClient, gateway: httpx2.AsyncClient) -> None:
        self._api = api
        self._gateway = gateway
        self._last: Exchange | None = None
        self.aggregates: set[str] = set()

    async def top_up(self, amount: int) -> dict[str, Any]:
        """Money from the customer's card into the wallet."""
        body = {"amount": amount, "currency": CURRENCY}
        made: dict[str, Any] = _document(await self.post("/api/v1/wallet/top-ups", body))
        self.aggregates.add(made["paymentId"])
        return made

    async def order(self, amount: int, sku: str = "SKU-1", **more: Any) -> str:
        """An order of one thing that costs this much; returns its id."""
        item = {"sku": sku, "quantity": 1, "unitPrice": amount}
        body = {"currency": CURRENCY, "items": [item], **more}
        made = _document(await self.post("/api/v1/orders", body))
        self.aggregates.add(made["id"])
        return str(made["id"])

    async def pay(self, order_id: str, method: str, **more: Any) -> dict[str, Any]:
        """Pay an order, and wait until the payment has ended."""
        body = {"orderId": order_id, "method": method, **more}
        paid: dict[str, Any] = _document(await self.post("/api/v1/payments", body))
        self.aggregates.add(paid["id"])
        return paid

    async def refund(self, payment_id: str, amount: int) -> httpx2.Response:
        """Ask for a (partial) refund."""
        body = {"paymentId": payment_id, "amount": amount, "reason": "shown in the demo"}
        return await self.post("/api/v1/refunds", body)

    async def card(self, number: str) -> str:
        """Give the customer another card; returns the id to pay with it."""
        path = f"/api/v1/customers/{CUSTOMER}/payment-methods"
        body = {"billingKey": f"bk_{number}", "last4": number[-4:], "isDefault": False}
        return str(_document(await _call(self._api, "POST", path, json=body))["id"])

    async def repeat(self) -> tuple[Exchange, httpx2.Response]:
        """Send the last request again, as a client does that missed the answer."""
        if self._last is None:
            raise Unexpected("nothing was sent that could be repeated")
        first = self._last
        return first, await self._send(first.path, first.body, first.key)

    async def get(self, path: str) -> Any:
        """What the API answers to a GET, which must succeed."""
        return _document(await _call(self._api, "GET", path))

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the API answers to a PUT, which must succeed."""
        return _document(await _call(self._api, "PUT", path, json=body))

    async def put_by_two(self, path: str, body: Mapping[str, Any]) -> str:
        """PUT what takes two persons: one proposes, another carries it out. Who the first was."""
        first = await _call(self._api, "PUT", path, json=body)
        expect("what one person alone is answered", first.status_code, 409)
        other = {"X-Customer-Id": "second-person"}
        _document(await _call(self._api, "PUT", path, json=body, headers=other))
        return str(first.json()["proposal"]["proposedBy"])

    async def wallet(self) -> tuple[int, int]:
        """(available, held)."""
        wallet = await self.get("/api/v1/wallet")
        for balance in wallet["balances"]:
            if balance["currency"] == CURRENCY:
                return balance["available"], balance["held"]
        return 0, 0

    async def points(self) -> tuple[int, int]:
        """(available, held)."""
        points = await self.get("/api/v1/points")
        return points["available"], points["held"]

    async def stock(self, sku: str) -> tuple[int, int]:
        """(on hand, reserved)."""
        stock = await self.get(f"/api/v1/inventory/{sku}")
        return stock["onHand"], stock["reserved"]

    async def coupon_uses(self, code: str) -> int:
        """Uses of a coupon, done and in progress."""
        return int((await self.get(f"/api/v1/coupons/{code}"))["used"])

    async def book(self, payment_id: str | None = None) -> dict[str, Any]:
        """What the gateway's own book holds, of one payment or in all."""
        params = {} if payment_id is None else {"orderId": payment_id}
        answer = await _call(self._gateway, "GET", "/v1/book", params=params)
        book: dict[str, Any] = _document(answer)
        return book

    async def captures(self, payment_id: str) -> int:
        """How often the gateway has taken the money of a payment."""
        book = await self.book(payment_id)
        return sum(payment["status"] == "CAPTURED" for payment in book["payments"])

    @asynccontextmanager
    async def without_webhooks(self) -> AsyncIterator[None]:
        """The gateway does not tell us what it did: for the length of the block we must ask."""
        webhook = f"{self._api.base_url}webhooks/gateway/simulator"
        await _call(self._gateway, "PUT", "/control/webhook", json={"url": None})
        yield
        await _call(self._gateway, "PUT", "/control/webhook", json={"url": webhook})

    @asynccontextmanager
    async def held_answers(self, number: str) -> AsyncIterator[None]:
        """The gateway charges this card, and for the length of the block says nothing of it: no
        answer to the first call, "in progress" to every other."""
        await self.behave(number, "hold-answer", times=1)
        await self.behave(number, "in-progress", times=1_000_000)
        yield
        await _call(self._gateway, "DELETE", "/control/behaviours")

    async def behave(self, number: str, behaviour: str, **more: Any) -> None:
        """Tell the gateway what to do with the next charges of a card."""
        body = {"operation": "charge", "billingKey": f"bk_{number}", "behaviour": behaviour, **more}
        _document(await _call(self._gateway, "POST", "/control/behaviours", json=body))

    async def post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        """Send a request under a key of its own; if it takes longer, wait as `Location` says.

        Repeated then under the same key, it is answered with the outcome.
        """
        key = uuid4().hex
        answer = await self._send(path, body, key)
        while answer.status_code in (202, 409) and "Location" in answer.headers:
            answer = await self._send(path, body, key)
        self._last = Exchange(path, body, key, answer)
        return answer

    async def _send(self, path: str, body: Mapping[str, Any], key: str) -> httpx2.Response:
        return await _call(self._api, "POST", path, json=body, headers={"Idempotency-Key": key})


async def _call(server: httpx2.AsyncClient, method: str, path: str, **more: Any) -> httpx2.Response:
    """One answer; what a 503 asks for is done: the same request again, a little later."""
    while True:
        try:
            answer = await server.request(method, path, **more)
        except httpx2.HTTPError as error:
            where = f"{server.base_url}{path}"
            raise Unexpected(f"no answer to {method} {where}: {error!r}") from error
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


def _document(answer: httpx2.Response) -> Any:
    if answer.status_code >= 400:
        where = f"{answer.request.method} {answer.request.url.path}"
        expect(f"the answer to {where}", f"{answer.status_code} {answer.text}", "success")
    return answer.json()
