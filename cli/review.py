"""`billing review`: what only a person may decide, and how it ends."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.system import Refused, as_id, call, connected, decided
from cli.words import duration, reason_given, say
from domain.errors import NotFound
from domain.inventory import Reservation
from domain.money import format_amount
from domain.payment import Payment
from domain.refund import Refund
from domain.review import Outcome, Question, Resolution, WaitingReview
from service import inventory, payment, refund
from service import review as reviews

app = typer.Typer(help="Decide what only a person may decide.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the payments and refunds that wait for a decision, oldest first."""
    cases, stock = asyncio.run(_waiting())
    if not cases and not stock:
        say("Nothing waits for a decision.")
    for case in cases:
        asked = case.review
        age = duration(datetime.now(UTC) - asked.opened_at)
        noun = "payment" if asked.reference_id == asked.payment_id else "refund"
        amount = format_amount(case.amount, case.currency)
        about = f"{noun} {asked.reference_id}: {amount} of {case.customer_id}"
        say(f"{about}, waits for {age}", style="bold")
        say(f"  {asked.reason}")
        say(f"  {command(asked.reference_id, asked.question)}")
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


def command(id_: str, question: Question) -> str:
    """What an operator types to answer."""
    return f'billing review resolve {id_} {"|".join(question.answers)} --reason "..."'


async def _waiting() -> tuple[list[WaitingReview], list[Reservation]]:
    async with connected() as system:
        return await reviews.waiting(system.desk), await inventory.in_review(system.desk)


async def _restock(payment_id: str, reason: str) -> str:
    async with connected() as system:
        count = await inventory.let_go(system.desk, system.access, payment_id, reason)
    return f"Of {count} SKUs the stock is let go." if count else "No stock waits there."


async def _resolve(id_: str, outcome: Outcome, reason: str) -> str:
    resolution = Resolution(outcome, reason)
    async with connected() as system:
        asked = call(system.access, "review resolve", id_, outcome, reason)
        with suppress(NotFound):
            resolved = decided(await payment.resolve(system.desk, asked, id_, resolution))
            return _stands("payment", resolved.payment)
        with suppress(NotFound):
            return _stands(
                "refund", decided(await refund.resolve(system.desk, asked, id_, resolution))
            )
    raise Refused(f"There is no payment or refund with the id {id_}.")


def _stands(noun: str, row: Payment | Refund) -> str:
    amount = format_amount(row.money, row.currency)
    return f"The {noun} of {amount} is {row.status}."
