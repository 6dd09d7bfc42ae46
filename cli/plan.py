"""`billing plan`: price lists, and what they said when."""

from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import quote

import typer

from api.documents.pricing import ChargePrices, PlanDocument, PlanVersionDocument
from cli.listing import Listing, listed, pages
from cli.options import AsJson, Moment, example, moment
from cli.showing import show as shown
from domain.money import format_amount

PATH = "/api/v1/pricing-plans"

app = typer.Typer(help="Look at price lists.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[PlanVersionDocument], object]] = {
    "code": lambda each: each.code,
    "version": lambda each: each.version,
    "effectiveFrom": lambda each: each.effective_from,
    "withdrawn": lambda each: each.withdrawn,
    "flatFee": lambda each: _amount(each.flat_fee, each.currency),
    "minimum": lambda each: _amount(each.minimum, each.currency),
    "charges": lambda each: [_charge(charge) for charge in each.charges or ()],
}


@app.command("list", epilog=example("plan list --code standard"))
@listed
def list_(
    code: Annotated[str | None, typer.Option(help="Only versions of this plan.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[PlanVersionDocument]:
    """List the versions of price lists, the newest first."""
    query = {"code": code, "from": moment(since), "to": moment(until)}
    return Listing(PlanVersionDocument, pages(PATH, query), COLUMNS, "No price lists.")


@app.command(epilog=example("plan show standard"))
def show(
    code: Annotated[str, typer.Argument(metavar="CODE", help="As listed, e.g. standard.")],
    as_json: AsJson = False,
) -> None:
    """Show a price list with all its versions."""
    facts: Mapping[str, Callable[[PlanDocument], object]] = {"code": lambda plan: plan.code}
    parts = {"versions": _versions}
    shown(f"{PATH}/{quote(code, safe='')}", {}, PlanDocument, facts, parts, as_json)


def _versions(plan: PlanDocument) -> list[Mapping[str, object]]:
    return [
        {name: value(each) for name, value in COLUMNS.items() if name != "code"}
        for each in plan.versions
    ]


def _charge(charge: ChargePrices) -> str:
    return f"{charge.resource_type} {charge.model}"


def _amount(minor_units: int | None, currency: str | None) -> str | None:
    if minor_units is None or currency is None:
        return None
    return format_amount(minor_units, currency)
