"""`billing review`: what only a person may decide, and how it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlalchemy import Row
from temporalio.client import Client

from cli.owner import hand_over
from cli.system import Refused, System, as_id, connected
from cli.words import duration, say
from domain.money import format_amount
from domain.order import OrderStatus
from domain.review import Decision, Resolution
from domain.saga import INVENTORY_RESERVE, StepState
from domain.waits import Waits
from store import inventory, payment, refund, saga
from workflows.payment_saga import payment_workflow_id
from workflows.refund_saga import refund_workflow_id

app = typer.Typer(help="Decide what only a person may decide.", no_args_is_help=True)


class Outcome(StrEnum):
    """What an operator found out."""

    CAPTURED = "captured"
    REFUNDED = "refunded"
    FAILED = "failed"


@dataclass(frozen=True)
class Case:
    """A payment or a refund, and the two ways in which it can end."""

    noun: str
    row: Row[Any]
    workflow_id: str
    happened: Outcome

    @property
    def id(self) -> str:
        return str(self.row.id)

    @property
    def amount(self) -> str:
        return format_amount(self.row.card_amount + self.row.wallet_amount, self.row.currency)

    def decision(self, outcome: Outcome) -> Decision:
        """Raises `Refused` for an outcome that it cannot have."""
        if outcome is Outcome.FAILED:
            return Decision.FAILED
        if outcome is not self.happened:
            raise Refused(f"A {self.noun} was {self.happened} or failed, never {outcome}.")
        return Decision.HAPPENED


@app.command("list")
def list_() -> None:
    """List the payments and refunds that wait for a decision, oldest first."""
    cases, stock = asyncio.run(_waiting())
    if not cases and not stock:
        say("Nothing waits for a decision.")
    for case in cases:
        age = duration(datetime.now(UTC) - case.row.updated_at)
        owner = case.row.customer_id
        say(f"{case.noun} {case.id}: {case.amount} of {owner}, waits for {age}", style="bold")
        say(f"  {case.row.review_reason}")
        say(f'  billing review resolve {case.id} {case.happened}|failed --reason "..."')

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
    if not reason.strip():
        raise Refused("Say in --reason what became of the goods.")
    say(asyncio.run(_restock(as_id(id_), reason)))


@app.command()
def resolve(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a payment or a refund.")],
    outcome: Annotated[Outcome, typer.Argument(help="What happened at the gateway.")],
    reason: Annotated[str, typer.Option(help="How you know; kept in the workflow's history.")],
) -> None:
    """Decide about a payment or refund in NEEDS_REVIEW. The same command again is harmless."""
    if not reason.strip():
        raise Refused("Say in --reason how you know.")
    say(asyncio.run(_resolve(as_id(id_), outcome, reason)))


async def _waiting() -> tuple[list[Case], Sequence[Row[Any]]]:
    async with connected() as system, system.reads.connect() as tx:
        cases = [_of_payment(row) for row in await payment.in_review(tx)]
        cases += [_of_refund(row) for row in await refund.in_review(tx)]
        stock = await inventory.in_review(tx)
    return sorted(cases, key=lambda case: case.row.updated_at), stock


async def _restock(payment_id: str, reason: str) -> str:
    async with connected() as system, system.database.begin() as tx:
        row = await payment.find(tx, payment_id)
        if row is None:
            raise Refused(f"There is no payment {payment_id}.")
        count = await inventory.resolve(tx, payment_id, reason)
        if count:
            paid = payment.request(row, Waits())
            undone = {INVENTORY_RESERVE: StepState.UNDONE}
            await saga.record(tx, paid, undone, order_status=OrderStatus.FAILED)
    return f"Of {count} SKUs the stock is let go." if count else "No stock waits there."


async def _resolve(id_: str, outcome: Outcome, reason: str) -> str:
    async with connected() as system:
        case = await _case(system, id_)
        resolution = Resolution(case.decision(outcome), reason)
        await _decide(system.temporal, case, resolution)
        case = await _case(system, id_)
    return f"The {case.noun} of {case.amount} is {case.row.status}."


async def _case(system: System, id_: str) -> Case:
    async with system.reads.connect() as tx:
        if (row := await payment.find(tx, id_)) is not None:
            return _of_payment(row)
        if (row := await refund.find(tx, id_)) is not None:
            return _of_refund(row)
    raise Refused(f"There is no payment or refund with the id {id_}.")


async def _decide(client: Client, case: Case, resolution: Resolution) -> None:
    """Hand the decision to the workflow, and wait for its end. Raises `Refused`."""
    words = f"{case.id} {resolution.decision} {resolution.reason}"
    await hand_over(
        client, case.workflow_id, "resolve", resolution, words, lambda: _nothing_waits(case)
    )


def _nothing_waits(case: Case) -> Refused:
    if case.row.status == "NEEDS_REVIEW":
        return Refused(
            f"The workflow of the {case.noun} asks the gateway once more before it waits for you: "
            "repeat the same command in a minute."
        )
    return Refused(f"Nothing waits for a decision: the {case.noun} is {case.row.status}.")


def _of_payment(row: Row[Any]) -> Case:
    return Case("payment", row, payment_workflow_id(row.id), Outcome.CAPTURED)


def _of_refund(row: Row[Any]) -> Case:
    return Case("refund", row, refund_workflow_id(row.id), Outcome.REFUNDED)
