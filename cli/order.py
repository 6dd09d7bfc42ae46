"""`billing order`: what was ordered, and how far its payment is."""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from api.documents.order import Order
from cli.listing import Listing, listed, pages
from cli.options import EXAMPLE_ID, AsJson, Customer, Moment, as_id, example, moment
from cli.showing import show as shown
from domain.money import format_amount
from domain.order import OrderStatus

PATH = "/api/v1/orders"

app = typer.Typer(help="Look at orders.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Order], object]] = {
    "id": lambda each: each.id,
    "status": lambda each: each.status,
    "payable": lambda each: format_amount(each.payable, each.currency),
    "customerId": lambda each: each.customer_id,
    "createdAt": lambda each: each.created_at,
    "updatedAt": lambda each: each.updated_at,
    "reviewReason": lambda each: each.review_reason,
}
FACTS: Mapping[str, Callable[[Order], object]] = {
    **COLUMNS,
    "amount": lambda each: format_amount(each.amount, each.currency),
    "couponCode": lambda each: each.coupon_code,
    "discount": lambda each: format_amount(each.discount, each.currency),
    "points": lambda each: each.points,
}


@app.command("list", epilog=example("order list --customer acme-corp --since 2026-05-01"))
@listed
def list_(
    status: Annotated[OrderStatus | None, typer.Option(help="Only those.")] = None,
    customer: Customer = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Order]:
    """List orders, newest first."""
    query = {
        "status": status,
        "customerId": customer,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(Order, pages(PATH, query), COLUMNS, "No orders.")


@app.command(epilog=example(f"order show {EXAMPLE_ID}"))
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of an order.")], as_json: AsJson = False
) -> None:
    """Show an order with its lines, and each step of its payments."""
    parts = {"items": _lines, "steps": _steps}
    shown(f"{PATH}/{as_id(id_)}", {}, Order, FACTS, parts, as_json)


def _lines(order: Order) -> list[Mapping[str, object]]:
    return [
        {
            "sku": line.sku,
            "quantity": line.quantity,
            "unitPrice": format_amount(line.unit_price, order.currency),
        }
        for line in order.items
    ]


def _steps(order: Order) -> list[Mapping[str, object]]:
    return [
        {"at": step.at, "state": step.state, "step": step.step, "paymentId": step.payment_id}
        for step in order.steps
    ]
