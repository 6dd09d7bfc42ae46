"""`billing customer`: who is billed, and how."""

from collections.abc import Callable, Mapping
from urllib.parse import quote

import typer

from api.documents.customer import Customer as Document
from cli.listing import Listing, listed, pages
from cli.options import AsJson, CustomerId, Moment, example, moment
from cli.showing import show as shown

PATH = "/api/v1/customers"

app = typer.Typer(help="Look at customers.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[Document], object]] = {
    "id": lambda each: each.id,
    "planCode": lambda each: each.plan_code,
    "timeZone": lambda each: each.time_zone,
    "prepaid": lambda each: each.prepaid,
    "dueDays": lambda each: each.due_days,
    "createdAt": lambda each: each.created_at,
}


@app.command("list", epilog=example("customer list --since 2026-05-01 --csv"))
@listed
def list_(since: Moment = None, until: Moment = None) -> Listing[Document]:
    """List customers, the newest first."""
    query = {"from": moment(since), "to": moment(until)}
    return Listing(Document, pages(PATH, query), COLUMNS, "No customers.")


@app.command(epilog=example("customer show acme-corp"))
def show(customer_id: CustomerId, as_json: AsJson = False) -> None:
    """Show how a customer is billed now."""
    shown(f"{PATH}/{quote(customer_id, safe='')}", {}, Document, COLUMNS, {}, as_json)
