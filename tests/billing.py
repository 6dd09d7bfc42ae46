"""What tests do through the HTTP API for one customer of their own."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from store.database import Database

GOOD_CARD = "4242424242424242"


@dataclass(frozen=True)
class Billing:
    """One customer, seen from outside."""

    api: httpx2.AsyncClient
    simulator: httpx2.AsyncClient
    database: Database
    customer_id: str

    @classmethod
    async def for_new_customer(
        cls, api: httpx2.AsyncClient, simulator: httpx2.AsyncClient, database: Database
    ) -> "Billing":
        billing = cls(api, simulator, database, f"c-{uuid4().hex}")
        made = await api.put(f"/api/v1/customers/{billing.customer_id}")
        assert made.status_code == 201, made.text
        await billing.add_card(GOOD_CARD)
        return billing

    async def add_card(self, number: str) -> str:
        """Make this test card the customer's default one; returns the payment method's id."""
        answer = await self.api.post(
            f"/api/v1/customers/{self.customer_id}/payment-methods",
            json={"billingKey": f"bk_{number}", "last4": number[-4:]},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def post(
        self, path: str, body: dict[str, Any], key: str | None = None
    ) -> httpx2.Response:
        """POST with a key of its own unless one is given."""
        headers = {"Idempotency-Key": key or uuid4().hex, "X-Customer-Id": self.customer_id}
        return await self.api.post(path, json=body, headers=headers)

    async def order(self, unit_price: int = 1000, quantity: int = 1, currency: str = "KRW") -> str:
        """Make an order; returns its id."""
        item = {"sku": "SKU-1", "quantity": quantity, "unitPrice": unit_price}
        answer = await self.post("/api/v1/orders", {"currency": currency, "items": [item]})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def pay(self, order_id: str, method: str = "CARD", **more: Any) -> dict[str, Any]:
        """Pay an order; returns the payment as answered."""
        body = {"orderId": order_id, "method": method, **more}
        answer = await self.post("/api/v1/payments", body)
        assert answer.status_code in (201, 202), answer.text
        paid: dict[str, Any] = answer.json()
        return paid

    async def top_up(self, amount: int, currency: str = "KRW") -> dict[str, Any]:
        """Money from the bank into the wallet."""
        body = {"amount": amount, "currency": currency, "source": "BANK_TRANSFER"}
        answer = await self.post("/api/v1/wallet/top-ups", body)
        assert answer.status_code == 201, answer.text
        booked: dict[str, Any] = answer.json()
        return booked

    async def balance(self, currency: str = "KRW") -> tuple[int, int]:
        """(available, held) of the wallet."""
        answer = await self.get(f"/api/v1/wallet?customerId={self.customer_id}")
        for balance in answer["balances"]:
            if balance["currency"] == currency:
                return balance["available"], balance["held"]
        return 0, 0

    async def get(self, path: str) -> dict[str, Any]:
        """GET, which must succeed."""
        answer = await self.api.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def book(self, payment_id: str) -> dict[str, Any]:
        """What the PG's own book holds for a payment: `payments`, `refunds`, `totals`."""
        answer = await self.simulator.get("/v1/book", params={"orderId": payment_id})
        assert answer.status_code == 200, answer.text
        book: dict[str, Any] = answer.json()
        return book
