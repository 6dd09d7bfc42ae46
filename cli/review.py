"""`billing review`: what only a person may decide, and how it ends."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.payment import Payment
from api.refund import Refund
from api.review import LetGo, Review, Reviews, UnreturnedStock
from cli.calling import Api, Missing, calling
from cli.system import Refused, as_id
from cli.words import duration, reason_given, say
from domain.money import format_amount
from domain.review import Outcome

app = typer.Typer(help="Decide what only a person may decide.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the payments and refunds that wait for a decision, oldest first."""
    reviews, stock = asyncio.run(_waiting())
    if not reviews and not stock:
        say("Nothing waits for a decision.")
    for asked in reviews:
        age = duration(datetime.now(UTC) - asked.opened_at)
        noun = "payment" if asked.reference_id == asked.payment_id else "refund"
        amount = format_amount(asked.amount, asked.currency)
        about = f"{noun} {asked.reference_id}: {amount} of {asked.customer_id}"
        say(f"{about}, waits for {age}", style="bold")
        say(f"  {asked.reason}")
        say(f"  {command(asked.reference_id, asked.answers)}")
    for row in stock:
        say(f"stock of payment {row.payment_id}: {row.quantity} of {row.sku}", style="bold")
        say("  It could not be given back: the SKU was withdrawn meanwhile.")
        say(f'  billing review restock {row.payment_id} --reason "..."')


@app.command()
def restock(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of the payment.")],
    reason: Annotated[str, typer.Option(help="What became of the goods; kept with them.")],
) -> None:
    """Let go of stock that a failed payment could not give back. Harmless to repeat."""
    told = reason_given(reason, "what became of the goods")
    say(asyncio.run(_restock(as_id(id_), told)))


@app.command()
def resolve(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a payment or a refund.")],
    outcome: Annotated[Outcome, typer.Argument(help="What happened at the gateway.")],
    reason: Annotated[str, typer.Option(help="How you know; kept in the workflow's history.")],
) -> None:
    """Answer the question of `billing review list` about a payment or refund. The same command
    again is harmless."""
    told = reason_given(reason, "how you know")
    say(asyncio.run(_resolve(as_id(id_), outcome, told)))


def command(id_: str, answers: Iterable[str]) -> str:
    """What an operator types to answer."""
    return f'billing review resolve {id_} {"|".join(answers)} --reason "..."'


async def _waiting() -> tuple[list[Review], list[UnreturnedStock]]:
    reviews: list[Review] = []
    cursor = None
    async with calling() as api:
        while True:
            answer = await api.get("/api/v1/reviews", open="true", limit=200, cursor=cursor)
            page = answer.read(Reviews)
            reviews += page.items
            if (cursor := page.next_cursor) is None:
                break
        stock = (await api.get("/api/v1/reviews/stock")).read_all(UnreturnedStock)
    return sorted(reviews, key=lambda each: each.opened_at), stock


async def _restock(payment_id: str, reason: str) -> str:
    async with calling() as api:
        path = f"/api/v1/payments/{payment_id}/stock/resolve"
        count = (await api.post(path, {"reason": reason})).read(LetGo).skus
    return f"Of {count} SKUs the stock is let go." if count else "No stock waits there."


async def _resolve(id_: str, outcome: Outcome, reason: str) -> str:
    async with calling() as api:
        noun = await _noun(api, id_)
        decision = {"outcome": outcome, "reason": reason}
        answer = await api.decided(f"/api/v1/{noun}s/{id_}/resolve", decision)
    found = answer.read(Payment) if noun == "payment" else answer.read(Refund)
    return f"The {noun} of {format_amount(found.amount, found.currency)} is {found.status}."


async def _noun(api: Api, id_: str) -> str:
    """What has this id."""
    for noun in ("payment", "refund"):
        with suppress(Missing):
            await api.get(f"/api/v1/{noun}s/{id_}")
            return noun
    raise Refused(f"There is no payment or refund with the id {id_}.")
