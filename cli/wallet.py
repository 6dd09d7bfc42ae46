"""`billing wallet`: what customers have paid in before, and not spent."""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from api.documents.wallet import ListedWallet, Wallet, WalletPosting
from cli.listing import Listing, listed, pages
from cli.options import AsJson, Customer, CustomerId, Moment, example, moment
from cli.showing import show as shown
from domain.money import format_amount

app = typer.Typer(help="Look at wallets.", no_args_is_help=True)

COLUMNS: Mapping[str, Callable[[ListedWallet], object]] = {
    "customerId": lambda each: each.customer_id,
    "unit": lambda each: each.unit,
    "available": lambda each: format_amount(each.available, each.unit),
    "held": lambda each: format_amount(each.held, each.unit),
    "createdAt": lambda each: each.created_at,
}


@app.command("list", epilog=example("wallet list --unit KRW --sort -available"))
@listed
def list_(
    customer: Customer = None,
    unit: Annotated[str | None, typer.Option(help="A currency, or POINT.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[ListedWallet]:
    """List wallets, one per customer and currency, the newest first."""
    query = {
        "customerId": customer,
        "unit": unit,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(ListedWallet, pages("/api/v1/wallets", query), COLUMNS, "No wallets.")


POSTINGS: Mapping[str, Callable[[WalletPosting], object]] = {
    "at": lambda each: each.at,
    "kind": lambda each: each.kind,
    "account": lambda each: each.account,
    "amount": lambda each: format_amount(each.amount, each.unit),
    "reference": lambda each: each.reference,
}


@app.command(epilog=example("wallet transactions acme-corp --limit 20"))
@listed
def transactions(customer_id: CustomerId) -> Listing[WalletPosting]:
    """List what went into a wallet, was set aside in it, and went out of it, newest first."""
    source = pages("/api/v1/wallet/transactions", {"customerId": customer_id})
    return Listing(WalletPosting, source, POSTINGS, "No postings.")


@app.command(epilog=example("wallet show acme-corp"))
def show(customer_id: CustomerId, as_json: AsJson = False) -> None:
    """Show what a customer can spend, and what is set aside."""
    facts: Mapping[str, Callable[[Wallet], object]] = {"customerId": lambda it: it.customer_id}
    parts = {"balances": _balances}
    shown("/api/v1/wallet", {"customerId": customer_id}, Wallet, facts, parts, as_json)


def _balances(wallet: Wallet) -> list[Mapping[str, object]]:
    return [
        {
            "currency": each.currency,
            "available": format_amount(each.available, each.currency),
            "held": format_amount(each.held, each.currency),
        }
        for each in wallet.balances
    ]
