"""`billing refund`: what was given back."""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from api.documents.refund import Refund
from cli.listing import Listing, listed, pages
from cli.options import EXAMPLE_ID, AsJson, Customer, Moment, as_id, example, moment
from cli.showing import show as shown
from domain.money import format_amount
from domain.refund import RefundStatus

PATH = "/api/v1/refunds"

app = typer.Typer(help="Look at refunds.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Refund], object]] = {
    "id": lambda each: each.id,
    "status": lambda each: each.status,
    "amount": lambda each: format_amount(each.amount, each.currency),
    "customerId": lambda each: each.customer_id,
    "paymentId": lambda each: each.payment_id,
    "createdAt": lambda each: each.created_at,
    "failureCode": lambda each: each.failure_code,
    "reason": lambda each: each.reason,
}
FACTS: Mapping[str, Callable[[Refund], object]] = {
    **COLUMNS,
    "cardAmount": lambda each: format_amount(each.card_amount, each.currency),
    "walletAmount": lambda each: format_amount(each.wallet_amount, each.currency),
    "pointsAmount": lambda each: each.points_amount,
    "failureMessage": lambda each: each.failure_message,
    "gatewayCode": lambda each: each.gateway_code,
    "gatewayReference": lambda each: each.gateway_reference,
    "reviewReason": lambda each: each.review_reason,
    "workflowId": lambda each: each.workflow_id,
    "updatedAt": lambda each: each.updated_at,
}


@app.command("list", epilog=example("refund list --status NEEDS_REVIEW"))
@listed
def list_(
    status: Annotated[RefundStatus | None, typer.Option(help="Only those.")] = None,
    customer: Customer = None,
    payment: Annotated[str | None, typer.Option(help="Only of this payment.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Refund]:
    """List refunds, newest first."""
    query = {
        "status": status,
        "customerId": customer,
        "paymentId": payment,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(Refund, pages(PATH, query), COLUMNS, "No refunds.")


@app.command(epilog=example(f"refund show {EXAMPLE_ID}"))
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a refund.")], as_json: AsJson = False
) -> None:
    """Show a refund as it stands; `billing payment show` tells the story of its payment."""
    shown(f"{PATH}/{as_id(id_)}", {}, Refund, FACTS, {}, as_json)
