"""Pays an order by a client that was generated: `pay.py FOLDER URL CUSTOMER`. Not a test itself: it
runs where the generator is installed, beside what we need ourselves."""

import importlib
import sys
from typing import Any
from uuid import uuid4


def main(folder: str, url: str, customer_id: str) -> None:
    """Print the order's id and how the payment of it ended."""
    sys.path.insert(0, folder)
    client = importlib.import_module("generated")
    models = importlib.import_module("generated.models")
    http = client.Client(base_url=url, headers={"X-Customer-Id": customer_id}, timeout=60)
    line = models.NewLine(sku="SKU-GENERATED", quantity=2, unit_price=1_000)
    order = called("orders.create_order", http, models.NewOrder(currency="KRW", items=[line]))
    card = models.NewPayment(order_id=order.id, method=models.NewPaymentMethod.CARD)
    paid = called("payments.create_payment", http, card)
    print(order.id, paid.order_id, paid.amount, paid.status)


def called(operation: str, http: Any, body: Any) -> Any:
    """What it answers, as the client reads it."""
    function = importlib.import_module(f"generated.api.{operation}")
    answer = function.sync_detailed(client=http, body=body, idempotency_key=uuid4().hex)
    if answer.status_code != 201:
        raise SystemExit(answer.content.decode())
    return answer.parsed


if __name__ == "__main__":
    main(*sys.argv[1:])
