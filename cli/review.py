"""`billing review`: what only a person may decide, and how it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Row
from temporalio.client import Client

from cli.owner import hand_over
from cli.system import Refused, System, as_id, connected
from cli.words import duration, reason_given, say
from domain.errors import Rejected
from domain.money import format_amount
from domain.review import Outcome, Question, Resolution, check
from domain.saga import INVENTORY_RESERVE
from domain.waits import Waits
from store import inventory, payment, refund, review, saga
from store.database import Transaction
from workflows.payment_saga import payment_workflow_id
from workflows.refund_saga import refund_workflow_id

app = typer.Typer(help="Decide what only a person may decide.", no_args_is_help=True)


@dataclass(frozen=True)
class Case:
    """A payment or a refund, and the last question about it, if there ever was one."""

    noun: str
    row: Row[Any]
    workflow_id: str
    review: Row[Any] | None

    @property
    def id(self) -> str:
        return str(self.row.id)

    @property
    def amount(self) -> str:
        return format_amount(self.row.card_amount + self.row.wallet_amount, self.row.currency)

    def refusal(self, outcome: Outcome) -> Refused | None:
        """What speaks against this answer."""
        asked = self.review
        question = None if asked is None else Question(asked.question)
        try:
            check(question, None if asked is None else asked.outcome, outcome)
        except Rejected as refused:
            return Refused(f"{refused} The {self.noun} is {self.row.status}.")
        return None


@app.command("list")
def list_() -> None:
    """List the payments and refunds that wait for a decision, oldest first."""
    cases, stock = asyncio.run(_waiting())
    if not cases and not stock:
        say("Nothing waits for a decision.")
    for case in cases:
        age = duration(datetime.now(UTC) - case.opened_at)
        noun = "payment" if case.reference_id == case.payment_id else "refund"
        amount = format_amount(case.amount, case.currency)
        about = f"{noun} {case.reference_id}: {amount} of {case.customer_id}"
        say(f"{about}, waits for {age}", style="bold")
        say(f"  {case.reason}")
        say(f"  {command(case.reference_id, Question(case.question))}")
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


async def _waiting() -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
    async with connected() as system, system.reads.connect() as tx:
        return await review.waiting(tx), await inventory.in_review(tx)


async def _restock(payment_id: str, reason: str) -> str:
    async with connected() as system, system.database.begin() as tx:
        row = await payment.find(tx, payment_id)
        if row is None:
            raise Refused(f"There is no payment {payment_id}.")
        count = await inventory.resolve(tx, payment_id, reason)
        if count:
            paid = payment.request(row, Waits())
            await saga.record_undone(tx, paid, INVENTORY_RESERVE)
    return f"Of {count} SKUs the stock is let go." if count else "No stock waits there."


async def _resolve(id_: str, outcome: Outcome, reason: str) -> str:
    async with connected() as system:
        case = await _case(system, id_)
        try:
            await _decide(system.temporal, case, Resolution(outcome, reason))
        except Refused as refused:
            # Somebody else may have been faster: what they decided is said instead.
            raise (await _case(system, id_)).refusal(outcome) or refused from refused
        case = await _case(system, id_)
    return f"The {case.noun} of {case.amount} is {case.row.status}."


async def _case(system: System, id_: str) -> Case:
    async with system.reads.connect() as tx:
        if (row := await payment.find(tx, id_)) is not None:
            return await _as_case(tx, "payment", row, payment_workflow_id(row.id))
        if (row := await refund.find(tx, id_)) is not None:
            return await _as_case(tx, "refund", row, refund_workflow_id(row.id))
    raise Refused(f"There is no payment or refund with the id {id_}.")


async def _as_case(tx: Transaction, noun: str, row: Row[Any], workflow_id: str) -> Case:
    return Case(noun, row, workflow_id, await review.latest(tx, row.id))


async def _decide(client: Client, case: Case, resolution: Resolution) -> None:
    """Hand the decision to the workflow, and wait for its end. Raises `Refused`."""
    words = f"{case.id} {resolution.outcome} {resolution.reason}"
    await hand_over(
        client,
        case.workflow_id,
        "resolve",
        resolution,
        words,
        lambda: _asks_first(case),
    )


def _asks_first(case: Case) -> Refused:
    return Refused(
        f"The workflow of the {case.noun} asks the gateway once more before it waits for you: "
        "repeat the same command in a minute."
    )
