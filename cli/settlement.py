"""`billing settlement`: a month for everybody, and what failed of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from api.documents.settlement import FailedSettlement, Run, RunProgress, Settlement, Standing
from cli.calling import Answer, Api, Missing, calling
from cli.consent import Decision, Prospect, agreed
from cli.listing import Found, Listing, answers, listed, pages
from cli.options import AsJson, Customer, example
from cli.refused import Refused
from cli.settings import workflow_link
from cli.words import remark, say
from domain.errors import Rejected
from domain.money import format_amount
from domain.period import Period
from domain.settlement import SettlementStatus
from domain.workflow_id import settlement_workflow_id

PATH = "/api/v1/settlement"
LOOK_SECONDS = 1.0
AT_MOST = 5_000
"""Customers of one replay; the same command again takes the next ones."""
AGAIN_WHEN_NAMED = (
    SettlementStatus.REJECTED,
    SettlementStatus.SKIPPED,
    SettlementStatus.CANCELLED,
)
"""These ended as somebody wanted it, so a replay of all that failed leaves them alone."""

app = typer.Typer(help="Settle a month for everybody.", no_args_is_help=True)
console = Console()
progress_console = Console(stderr=True)

Month = Annotated[str, typer.Argument(metavar="PERIOD", help="A month that is over: 2026-05.")]
Customers = Annotated[
    list[str] | None,
    typer.Option("--customer", help="Only this one; may be given more than once."),
]


COLUMNS: Mapping[str, Callable[[Settlement], object]] = {
    "period": lambda each: each.period,
    "customerId": lambda each: each.customer_id,
    "status": lambda each: each.status,
    "invoiceId": lambda each: each.invoice_id,
    "reason": lambda each: each.reason,
}


class Failure(FailedSettlement):
    """With where to look."""

    temporal_ui_url: str | None


FAILURES: Mapping[str, Callable[[Failure], object]] = {
    "customerId": lambda each: each.customer_id,
    "reason": lambda each: each.reason,
}


@app.command("list", epilog=example("settlement list --period 2026-05 --status FAILED"))
@listed
def list_(
    period: Annotated[str | None, typer.Option(help="Only of this month, as 2026-05.")] = None,
    status: Annotated[SettlementStatus | None, typer.Option(help="Only those.")] = None,
    customer: Customer = None,
) -> Listing[Settlement]:
    """List how the months of customers were settled, the last month first."""
    query = {
        "period": None if period is None else _month(period),
        "status": status,
        "customerId": customer,
    }
    return Listing(Settlement, pages("/api/v1/settlements", query), COLUMNS, "No settlements.")


@app.command(epilog=example("settlement run 2026-05 --yes"))
@agreed
def run(period: Month, customer: Customers = None, as_json: AsJson = False) -> Decision:
    """Settle a month for everybody with a plan or unbilled usage; show how far it is, then report.

    Asked again while it runs, the run is found. Ctrl-C leaves it running. Exit code 1 when somebody
    could not be settled.
    """
    month, names = _month(period), customer or []

    async def decided(api: Api) -> Prospect:
        whom = ", ".join(names) or "everybody with a plan or unbilled usage"
        words = [f"{month} would be settled for {whom}.", await _so_far(api, month)]
        return Prospect(words, partial(_run, api, month, names, as_json))

    return decided


@app.command("report", epilog=example("settlement report 2026-05 --json"))
def report_(period: Month, as_json: AsJson = False) -> None:
    """What a month came to so far."""
    month = _month(period)
    _tell_report(asyncio.run(_report(month)), as_json)


@app.command(epilog=example("settlement failed 2026-05 --csv"))
@listed
def failed(period: Month) -> Listing[Failure]:
    """Whose month could not be settled, and why."""
    month = _month(period)

    async def read(api: Api, limit: int) -> Found:
        rows = [
            {**each.model_dump(mode="json"), "temporalUiUrl": _link(each, month)}
            for each in await _failures(api, month)
        ]
        return Found(rows[:limit], more=len(rows) > limit)

    return Listing(
        Failure,
        answers(read),
        FAILURES,
        f"Nothing of {month} has failed.",
        f"Mend the reason, then: billing settlement replay {month}. Links to workflows: --json.",
    )


@app.command(epilog=example("settlement replay 2026-05 --dry-run"))
@agreed
def replay(
    period: Month,
    customer: Customers = None,
    reason: Annotated[
        str | None, typer.Option(help="Only what failed for a reason with these words in it.")
    ] = None,
) -> Decision:
    """Settle again what failed, and tell how each ended. Safe to repeat."""
    month = _month(period)

    async def decided(api: Api) -> Prospect:
        wanted = await _wanted(api, month, customer or [], reason)
        if not wanted:
            return Prospect([f"Nothing of {month} that could be settled again."], None)
        words = [f"{customer_id}: {why}" for customer_id, why in wanted.items()]
        some = list(wanted)[:AT_MOST]
        return Prospect(
            [*words, f"{len(some)} would be settled again."], partial(_replay, api, month, some)
        )

    return decided


async def _run(api: Api, month: str, names: Sequence[str], as_json: bool) -> None:
    wanted = {"period": month, **({"customerIds": list(names)} if names else {})}
    begun = await api.post(f"{PATH}/runs", wanted)
    where = begun.location if names else None
    with _bar() as bar:
        await _follow(api, where or f"{PATH}/runs/{month}/progress", bar, month)
    answer = await api.watched(f"{PATH}/runs/{month}", _again(month))
    _tell_report(answer, as_json)
    if any(not names or each.customer_id in names for each in answer.read(Run).failures):
        raise typer.Exit(1)


def _again(month: str) -> str:
    """What to do where nobody can be asked any more."""
    return (
        "the same command follows it again, and `billing settlement report "
        f"{month}` tells how far it is."
    )


async def _so_far(api: Api, month: str) -> str:
    try:
        found = (await api.get(f"{PATH}/runs/{month}")).read(Run)
    except Missing:
        return "Nothing of it was settled yet."
    counts = ((status, getattr(found, status.lower())) for status in SettlementStatus)
    so_far = ", ".join(f"{count} {status}" for status, count in counts if count)
    return f"So far: {so_far}; what is settled stays." if so_far else "Nothing of it is settled."


async def _follow(api: Api, where: str, bar: Bar, month: str) -> None:
    """Show how far the run is until it has ended."""
    task = bar.add_task(f"settle {month}", total=None)
    while True:
        seen = (await api.watched(where, _again(month))).read(RunProgress)
        if seen.finished is not None:
            bar.update(task, total=seen.customers or None, completed=seen.finished)
        if seen.state == "COMPLETED":
            return
        if seen.state == "ENDED":
            raise Refused("It was ended before it was done: repeat the same command.")
        await asyncio.sleep(LOOK_SECONDS)


async def _report(month: str) -> Answer:
    async with calling() as api:
        try:
            return await api.get(f"{PATH}/runs/{month}")
        except Missing as nothing:
            words = str(nothing).removesuffix(".")
            raise Refused(f"{words}: billing settlement run {month}.") from nothing


async def _failures(api: Api, month: str) -> list[FailedSettlement]:
    try:
        return (await api.get(f"{PATH}/runs/{month}")).read(Run).failures
    except Missing:
        return []


async def _replay(api: Api, month: str, customers: Sequence[str]) -> None:
    with _bar() as bar:
        ended = await _settle_again(api, month, customers, bar)
    for each in ended:
        say(f"{each.customer_id}: {each.status}{f', {each.reason}' if each.reason else ''}")
    if any(each.status is SettlementStatus.FAILED for each in ended):
        raise typer.Exit(1)


async def _wanted(
    api: Api, month: str, customers: Sequence[str], reason: str | None
) -> dict[str, str]:
    """Whom to settle again, and why."""
    failures = {each.customer_id: each.reason for each in await _failures(api, month)}
    for customer_id in dict.fromkeys(customers):
        if customer_id in failures:
            continue
        try:
            stands = await _standing(api, month, customer_id)
        except Missing as never:
            words = str(never).removesuffix(".")
            raise Refused(f"{words}, so nothing can be repeated.") from never
        if stands.status in AGAIN_WHEN_NAMED:
            failures[customer_id] = stands.reason or stands.status
        else:
            remark(f"{customer_id}: {stands.status}, nothing to do")
    return {
        customer_id: why
        for customer_id, why in failures.items()
        if (not customers or customer_id in customers) and (reason or "") in why
    }


async def _standing(api: Api, month: str, customer_id: str) -> Standing:
    answer = await api.get(f"{PATH}/run", customerId=customer_id, period=month)
    return answer.read(Standing)


async def _settle_again(api: Api, month: str, customers: Sequence[str], bar: Bar) -> list[Standing]:
    """One run of theirs, until each has ended, or waits itself, for a person or for the end of its
    month. As one call: of very many it takes a second person, as anybody's call does."""
    begun = await api.post(f"{PATH}/runs", {"period": month, "customerIds": list(customers)})
    assert begun.location is not None, "a run has a place"
    await _follow(api, begun.location, bar, month)
    where, again = f"{PATH}/run", _again(month)
    return [
        (await api.watched(where, again, customerId=each, period=month)).read(Standing)
        for each in customers
    ]


def _tell_report(answer: Answer, as_json: bool) -> None:
    if as_json:
        typer.echo(answer.text)
        return
    found = answer.read(Run)
    month = found.period
    table = Table(title=f"Settlement of {month}", show_header=False, title_justify="left")
    for status in SettlementStatus:
        if count := getattr(found, status.lower()):
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


def _link(failure: FailedSettlement, month: str) -> str | None:
    return workflow_link(settlement_workflow_id(failure.customer_id, month))


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
