"""`billing review`: what only a person may decide, and how it ends."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated

import orjson
import typer

from api.documents.payment import Payment
from api.documents.refund import Refund
from api.documents.review import LetGo, Review, UnreturnedStock
from cli.calling import Api, Missing
from cli.consent import Decision, Prospect, agreed
from cli.listing import Found, Listing, answers, listed, pages
from cli.options import EXAMPLE_ID, Customer, Moment, as_id, example, moment
from cli.refused import Refused
from cli.words import reason_given, say
from domain.money import format_amount
from domain.review import Outcome, Question

PATH = "/api/v1/reviews"
NOUNS: Mapping[str, type[Payment] | type[Refund]] = {"payment": Payment, "refund": Refund}

app = typer.Typer(help="Decide what only a person may decide.", no_args_is_help=True)

REVIEWS: Mapping[str, Callable[[Review], object]] = {
    "referenceId": lambda each: each.reference_id,
    "amount": lambda each: format_amount(each.amount, each.currency),
    "customerId": lambda each: each.customer_id,
    "openedAt": lambda each: each.opened_at,
    "answers": lambda each: "|".join(each.answers),
    "reason": lambda each: each.reason,
}
ANSWERS: Mapping[str, Callable[[Review], object]] = {
    "outcome": lambda each: each.outcome,
    "closedAt": lambda each: each.closed_at,
    "note": lambda each: each.note,
}
STOCK: Mapping[str, Callable[[UnreturnedStock], object]] = {
    "paymentId": lambda each: each.payment_id,
    "sku": lambda each: each.sku,
    "quantity": lambda each: each.quantity,
}


@app.command("list", epilog=example("review list --sort openedAt"))
@listed
def list_(
    customer: Customer = None,
    payment: Annotated[str | None, typer.Option(help="Only of this payment.")] = None,
    question: Annotated[Question | None, typer.Option(help="Only where this is asked.")] = None,
    answered: Annotated[bool, typer.Option("--answered", help="Answered ones, too.")] = False,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Review]:
    """List the payments and refunds that wait for a decision, newest first."""
    query = {
        "customerId": customer,
        "paymentId": payment,
        "question": question,
        "open": None if answered else "true",
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(
        Review,
        pages(PATH, query),
        {**REVIEWS, **ANSWERS} if answered else REVIEWS,
        "Nothing waits for a decision.",
        f"Answer one: {command('ID', ['ANSWER'])}",
    )


@app.command(epilog=example("review stock"))
@listed
def stock() -> Listing[UnreturnedStock]:
    """List the stock that could not be given back: its SKU was withdrawn meanwhile."""
    return Listing(
        UnreturnedStock,
        answers(_stock),
        STOCK,
        "No stock waits.",
        'Let it go: billing review restock PAYMENT --reason "..."',
    )


@app.command(epilog=example(f"review restock {EXAMPLE_ID} --reason 'sold to the staff'"))
@agreed
def restock(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of the payment.")],
    reason: Annotated[str, typer.Option(help="What became of the goods; kept with them.")],
) -> Decision:
    """Let go of stock that a failed payment could not give back. Harmless to repeat."""
    payment_id, told = as_id(id_), reason_given(reason, "what became of the goods")

    async def decided(api: Api) -> Prospect:
        waiting = (await api.get(f"{PATH}/stock")).read_all(UnreturnedStock)
        rows = [each for each in waiting if each.payment_id == payment_id]
        words = [f"{each.quantity} of {each.sku} would be let go." for each in rows]
        if not rows:
            return Prospect(["No stock waits there."], None)
        return Prospect(words, partial(_restock, api, payment_id, told))

    return decided


@app.command(epilog=example(f"review resolve {EXAMPLE_ID} captured --reason 'seen at the PG'"))
@agreed
def resolve(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a payment or a refund.")],
    outcome: Annotated[Outcome, typer.Argument(help="What happened at the gateway.")],
    reason: Annotated[str, typer.Option(help="How you know; kept in the workflow's history.")],
) -> Decision:
    """Answer the question of `billing review list` about a payment or refund. The same command
    again is harmless."""
    about, told = as_id(id_), reason_given(reason, "how you know")

    async def decided(api: Api) -> Prospect:
        noun, found = await _found(api, about)
        amount = format_amount(found.amount, found.currency)
        words = f"The {noun} of {amount} is {found.status}; it would be booked as {outcome}."
        decision = {"outcome": outcome, "reason": told}
        return Prospect([words], partial(_resolve, api, noun, about, decision))

    return decided


def command(id_: str, answers: Iterable[str]) -> str:
    """What an operator types to answer."""
    return f'billing review resolve {id_} {"|".join(answers)} --reason "..."'


async def _stock(api: Api, limit: int) -> Found:
    rows = orjson.loads((await api.get(f"{PATH}/stock")).text)
    return Found(rows[:limit], more=len(rows) > limit)


async def _restock(api: Api, payment_id: str, reason: str) -> None:
    path = f"/api/v1/payments/{payment_id}/stock/resolve"
    count = (await api.post(path, {"reason": reason})).read(LetGo).skus
    say(f"Of {count} SKUs the stock is let go." if count else "No stock waits there.")


async def _resolve(api: Api, noun: str, id_: str, decision: Mapping[str, str]) -> None:
    answer = await api.decided(f"/api/v1/{noun}s/{id_}/resolve", decision)
    found = answer.read(NOUNS[noun])
    say(f"The {noun} of {format_amount(found.amount, found.currency)} is {found.status}.")


async def _found(api: Api, id_: str) -> tuple[str, Payment | Refund]:
    """What has this id."""
    for noun, model in NOUNS.items():
        with suppress(Missing):
            return noun, (await api.get(f"/api/v1/{noun}s/{id_}")).read(model)
    raise Refused(f"There is no payment or refund with the id {id_}.")
