"""`billing coupon`: what takes something off an order, and how often it has."""

from collections.abc import Callable, Mapping

import typer

from api.documents.coupon import Coupon
from cli.listing import Listing, listed, pages
from cli.options import Moment, example, moment
from domain.money import format_amount

app = typer.Typer(help="Look at coupons.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Coupon], object]] = {
    "code": lambda each: each.code,
    "kind": lambda each: each.kind,
    "basisPoints": lambda each: each.basis_points,
    "amounts": lambda each: [
        format_amount(amount, currency) for currency, amount in (each.amounts or {}).items()
    ],
    "validFrom": lambda each: each.valid_from,
    "validUntil": lambda each: each.valid_until,
    "totalLimit": lambda each: each.total_limit,
    "issued": lambda each: each.issued,
    "used": lambda each: each.used,
}


@app.callback()
def _group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@app.command("list", epilog=example("coupon list --sort -used"))
@listed
def list_(since: Moment = None, until: Moment = None) -> Listing[Coupon]:
    """List coupons with their counts, the newest first."""
    query = {"from": moment(since), "to": moment(until)}
    return Listing(Coupon, pages("/api/v1/coupons", query), COLUMNS, "No coupons.")
