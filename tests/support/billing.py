"""What tests do through the HTTP API for one customer of their own."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

from domain import ledger, points
from domain.access import SYSTEM
from store import wallet
from store.database import Database
from store.ledger import append
from tests.support.conditions import eventually

GOOD_CARD = "4242424242424242"
ALWAYS = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}

WITHOUT_RESIDUE: set[str] = set()
"""Customers of this process whose books agree at its end (`tests.support.clean_slate`)."""
WITHOUT_PG: set[str] = set()
"""Those of whom no PG knows."""


@dataclass(frozen=True)
class Billing:
    """One customer, seen from outside."""

    api: httpx2.AsyncClient
    simulator: httpx2.AsyncClient
    database: Database
    customer_id: str
    stocked: dict[str, int] = field(default_factory=dict)
    """What was put in stock through here, by SKU."""

    @classmethod
    async def for_new_customer(
        cls, api: httpx2.AsyncClient, simulator: httpx2.AsyncClient, database: Database
    ) -> "Billing":
        billing = cls(api, simulator, database, f"c-{uuid4().hex}")
        made = await api.put(f"/api/v1/customers/{billing.customer_id}")
        assert made.status_code == 201, made.text
        WITHOUT_RESIDUE.add(billing.customer_id)
        await billing.add_card(GOOD_CARD)
        return billing

    def leaves_residue(self) -> None:
        """Its test makes rows that no customer could: nobody compares them at the end."""
        WITHOUT_RESIDUE.discard(self.customer_id)

    def asks_no_pg(self) -> None:
        """Its test says itself what a PG took: no book is compared at the end."""
        WITHOUT_PG.add(self.customer_id)

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

    async def order_of(self, sku: str, amount: int, **more: Any) -> dict[str, Any]:
        """Make an order of one piece that costs this much; returns it as answered."""
        item = {"sku": sku, "quantity": 1, "unitPrice": amount}
        answer = await self.post("/api/v1/orders", {"currency": "KRW", "items": [item], **more})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def put_coupon(self, code: str | None = None, **terms: Any) -> str:
        """Make or change a coupon, of 500 KRW unless told otherwise; returns its code."""
        code = code or f"C-{uuid4().hex}"
        body = {"kind": "FIXED", "amounts": {"KRW": 500}, **ALWAYS, **terms}
        answer = await self.api.put(f"/api/v1/coupons/{code}", json=body)
        assert answer.status_code in (200, 201), answer.text
        return code

    async def put_stock(self, on_hand: int, sku: str | None = None, **more: Any) -> str:
        """Track a SKU, or change its stock before any of it is sold; returns it."""
        sku = sku or f"S-{uuid4().hex}"
        body = {"onHand": on_hand, **more}
        answer = await self.api.put(f"/api/v1/inventory/{sku}", json=body)
        assert answer.status_code in (200, 201), answer.text
        self.stocked[sku] = on_hand
        return sku

    async def give_points(self, amount: int) -> None:
        """Points as a present, booked as issued."""
        async with self.database.begin(SYSTEM) as tx:
            await wallet.credit(tx, self.customer_id, points.UNIT, amount)
            target = ledger.available(self.customer_id)
            postings = ledger.transfer(points.ISSUED, target, points.UNIT, amount)
            await append(tx, ledger.Transaction(f"test/{uuid4()}", "present", postings))

    async def pay(self, order_id: str, method: str = "CARD", **more: Any) -> dict[str, Any]:
        """Pay an order; returns the payment once it is no longer PENDING."""
        body = {"orderId": order_id, "method": method, **more}
        answer = await self.post("/api/v1/payments", body)
        assert answer.status_code in (201, 202), answer.text
        paid: dict[str, Any] = answer.json()

        async def begun() -> dict[str, Any]:
            now = await self.get(f"/api/v1/payments/{paid['id']}")
            return {} if now["status"] == "PENDING" else now

        return await eventually(begun) if paid["status"] == "PENDING" else paid

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
