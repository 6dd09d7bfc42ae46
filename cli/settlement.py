"""`billing settlement`: a month for everybody, and what failed of it."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from api.settlement import run_document
from cli.system import Refused, System, connected, workflow_link
from cli.words import say
from domain.errors import Rejected
from domain.money import format_amount
from domain.period import Period
from domain.run import Progress
from domain.settlement import SettlementStatus
from domain.workflow_id import settlement_workflow_id
from service import settlement
from service.settlement import Failure, MonthStanding, Report
from workflows.settlement_run import SettlementRun

LOOK_SECONDS = 0.5
AT_ONCE = 20
"""Settlements that a replay runs at a time."""
WITHOUT_ASKING = 10
"""A replay of more than so many says first what it would do."""
AGAIN_WHEN_NAMED = (
    SettlementStatus.REJECTED,
    SettlementStatus.SKIPPED,
    SettlementStatus.CANCELLED,
)
"""These ended as somebody wanted it, so a replay of all that failed leaves them alone."""

app = typer.Typer(help="Settle a month for everybody.", no_args_is_help=True)
console = Console()
progress_console = Console(stderr=True)

Answer = TypeVar("Answer")
Month = Annotated[str, typer.Argument(metavar="PERIOD", help="A month that is over: 2026-05.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def run(
    period: Month,
    customer: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given more than once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Settle a month for everybody with a plan or unbilled usage; show how far it is, then report.

    Asked again while it runs, the run is found. Ctrl-C leaves it running. Exit code 1 when somebody
    could not be settled.
    """
    month = _month(period)
    found = asyncio.run(_run(month, customer or []))
    _tell_report(month, found, as_json)
    if any(not customer or each.customer_id in customer for each in found.failures):
        raise typer.Exit(1)


@app.command("report")
def report_(period: Month, as_json: AsJson = False) -> None:
    """What a month came to so far."""
    month = _month(period)
    _tell_report(month, asyncio.run(_report(month)), as_json)


@app.command()
def failed(period: Month, as_json: AsJson = False) -> None:
    """Whose month could not be settled, and why."""
    month = _month(period)
    found = asyncio.run(_failed(month))
    if as_json:
        typer.echo(orjson.dumps([{**_document(each), "temporalUiUrl": url} for each, url in found]))
        return
    if not found:
        say(f"Nothing of {month} has failed.")
    for failure, url in found:
        say(failure.customer_id, style="bold")
        say(f"  {failure.reason}")
        if url:
            say(f"  {url}")
    if found:
        say(f"Mend the reason, then: billing settlement replay {month}")


@app.command()
def replay(
    period: Month,
    customer: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given more than once.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only what failed for a reason with these words in it.")
    ] = None,
    dry_run: Annotated[
        bool | None,
        typer.Option(
            "--dry-run/--no-dry-run",
            help=f"Only say what would be done; the default above {WITHOUT_ASKING}.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Settle again what failed, and tell how each ended. Safe to repeat."""
    month = _month(period)
    ended = asyncio.run(_replay(month, customer or [], reason, dry_run))
    for each in ended:
        say(f"{each.customer_id}: {each.status}{f', {each.reason}' if each.reason else ''}")
    if any(each.status is SettlementStatus.FAILED for each in ended):
        raise typer.Exit(1)


async def _run(month: str, names: Sequence[str]) -> Report:
    async with connected() as system:
        handle = await settlement.start_run(system.desk, system.access, month, names)
        with _bar() as bar:
            await _reached(_follow(handle, bar, month))
        return await settlement.report(system.desk, month)


async def _follow(handle: WorkflowHandle[SettlementRun, Progress], bar: Bar, month: str) -> None:
    """Show how far the run is until it has ended."""
    task = bar.add_task(f"settle {month}", total=None)
    ended = asyncio.ensure_future(handle.result())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=LOOK_SECONDS)
            if (seen := await settlement.progress(handle)) is None:
                continue
            bar.update(task, total=seen.total or None, completed=seen.finished + seen.left_behind)
        await ended
    finally:
        ended.cancel()


async def _report(month: str) -> Report:
    async with connected() as system:
        found = await settlement.report(system.desk, month)
    if found.started_at is None and not found.counts:
        raise Refused(f"Nothing of {month} was settled yet: billing settlement run {month}.")
    return found


async def _failed(month: str) -> list[tuple[Failure, str | None]]:
    async with connected() as system:
        failures = (await settlement.report(system.desk, month)).failures
        return [
            (each, workflow_link(settlement_workflow_id(each.customer_id, month)))
            for each in failures
        ]


async def _replay(
    month: str, customers: Sequence[str], reason: str | None, dry_run: bool | None
) -> list[MonthStanding]:
    async with connected() as system:
        await settlement.require_over(system.desk, month)
        failures = await _wanted(system, month, customers, reason)
        count = len(failures)
        if count and (dry_run if dry_run is not None else count > WITHOUT_ASKING):
            for each in failures:
                say(f"{each.customer_id}: {each.reason}")
            say(f"{count} would be settled again: the same command with --no-dry-run does it.")
            return []
        if not count:
            say(f"Nothing of {month} that could be settled again.")
            return []
        with _bar() as bar:
            return await _settle_all(system, month, failures, bar)


async def _wanted(
    system: System, month: str, customers: Sequence[str], reason: str | None
) -> list[Failure]:
    failures = {
        each.customer_id: each for each in (await settlement.report(system.desk, month)).failures
    }
    for customer_id in dict.fromkeys(customers):
        if customer_id in failures:
            continue
        stands = await settlement.standing(system.desk, month, customer_id)
        if stands is None:
            raise Refused(
                f"{month} of {customer_id} was never settled, so nothing can be repeated."
            )
        if stands.status in AGAIN_WHEN_NAMED:
            failures[customer_id] = Failure(customer_id, stands.reason or stands.status, None)
        else:
            say(f"{customer_id}: {stands.status}, nothing to do")
    return [
        each
        for each in failures.values()
        if (not customers or each.customer_id in customers) and (reason or "") in each.reason
    ]


async def _settle_all(
    system: System, month: str, failures: Sequence[Failure], bar: Bar
) -> list[MonthStanding]:
    task = bar.add_task(f"settle {month} again", total=len(failures))
    places = asyncio.Semaphore(AT_ONCE)

    async def again(failure: Failure) -> MonthStanding:
        request = system.desk.terms.settlement(failure.customer_id, month)
        async with places:
            ended = await _reached(settlement.settle_again(system.desk, system.access, request))
        bar.advance(task)
        return ended

    return list(await asyncio.gather(*map(again, failures)))


async def _reached(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except WorkflowFailureError as error:
        raise Refused(
            f"It was ended before it was done ({error.cause}): repeat the same command."
        ) from error
    except (RPCError, RuntimeError) as error:
        raise Refused("Temporal cannot be reached: repeat the same command later.") from error


def _tell_report(month: str, found: Report, as_json: bool) -> None:
    if as_json:
        typer.echo(run_document(month, found).model_dump_json(by_alias=True))
        return
    table = Table(title=f"Settlement of {month}", show_header=False, title_justify="left")
    for status in SettlementStatus:
        if count := found.counts.get(status, 0):
            table.add_row(str(status), str(count))
    table.add_section()
    for currency, total in sorted(found.totals.items()):
        table.add_row("issued", format_amount(total, currency))
    if found.seconds is not None:
        ended = "took" if found.finished_at else "has run for"
        rate = f"{found.throughput or 0:.1f} customers/s"
        table.add_row(f"the last run {ended}", f"{found.seconds:.1f} s, {rate}")
    table.add_section()
    for reason, count in found.failed_by_reason.items():
        table.add_row(str(count), reason)
    console.print(table)
    if found.failures:
        say(f"{len(found.failures)} failed: billing settlement failed {month}")


def _document(failure: Failure) -> dict[str, str | None]:
    return {
        "customerId": failure.customer_id,
        "reason": failure.reason,
        "invoiceId": failure.invoice_id,
    }


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=progress_console,
        transient=True,
    )


def _month(text: str) -> str:
    try:
        return str(Period.parse(text))
    except Rejected as error:
        raise Refused(str(error)) from error
