"""`billing verify`: does all that the system knows tell one story?"""

import asyncio
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.status import Status

from cli.errors import in_words
from cli.options import example
from cli.system import connected
from cli.words import say
from domain.verification import PROMISES, Finding, Report
from runtime import gateways
from runtime.settings import Settings
from service.verification import CouldNotLook, Sources, Tell, patience, verify
from store.database import BATCH_SECONDS

COULD_NOT_LOOK = 2

app = typer.Typer(help="Look whether everything agrees with everything.")
waiting = Console(stderr=True)


@app.callback(invoke_without_command=True, epilog=example("verify --json"))
def verify_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare ledger, wallets, payments, events, invoices and usage with each other, with what runs
    in Temporal, and with the gateway's own book. Changes nothing.

    Exit code 1 when something is wrong, 2 when somebody who must be asked does not answer.
    """
    try:
        report = asyncio.run(_verify(_silent if as_json else _tell))
    except Exception as error:
        words = str(error) if isinstance(error, CouldNotLook) else in_words(error)
        if words is None:
            raise
        waiting.print(f"billing: {words}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(COULD_NOT_LOOK) from error
    if as_json:
        typer.echo(orjson.dumps(_document(report)))
    else:
        _sum_up(report)
    if report.violations:
        raise typer.Exit(1)


async def _verify(tell: Tell) -> Report:
    """Each finding is told as it comes; on a terminal something turns meanwhile."""
    async with connected(BATCH_SECONDS) as system:
        settings: Settings = system.settings
        sources = Sources(
            system.desk.database,
            system.desk.temporal,
            gateways.books(settings),
            patience(timedelta(seconds=settings.sweep_seconds)),
        )
        with waiting.status("looking ...") as status:
            return await verify(sources, partial(_between, status, tell))


def _between(status: Status, tell: Tell, finding: Finding) -> None:
    """What turns stops while a line is written: it would take the line for its own, also one that
    goes into a file."""
    status.stop()
    tell(finding)
    status.start()


def _silent(finding: Finding) -> None:
    """The document comes at the end; standard error says that somebody works."""
    waiting.print(f"{finding.invariant}: looked at {finding.looked_at}", style="dim")


def _tell(finding: Finding) -> None:
    if not finding.violations:
        say(f"ok     {finding.invariant}: {finding.looked_at:,} looked at")
        return
    counts = f"{finding.violations:,} of {finding.looked_at:,}"
    say(f"WRONG  {finding.invariant}: {counts}", style="bold red")
    say(f"       {PROMISES[finding.invariant]} Not so:")
    for each in finding.first:
        say(f"       {each.id}: {each.wrong}")
    if left := finding.violations - len(finding.first):
        say(f"       and {left:,} more")


def _sum_up(report: Report) -> None:
    wrong = [finding for finding in report.findings if finding.violations]
    if wrong:
        many = "invariant is" if len(wrong) == 1 else "invariants are"
        say(f"{len(wrong)} {many} violated: docs/operations.md says what to do.", style="bold")
    else:
        say(f"All {len(report.findings)} invariants hold.", style="bold")


def _document(report: Report) -> dict[str, object]:
    return {
        "at": report.at,
        "violations": report.violations,
        "invariants": [
            {
                "name": finding.invariant,
                "promise": PROMISES[finding.invariant],
                "lookedAt": finding.looked_at,
                "violations": finding.violations,
                "first": [asdict(each) for each in finding.first],
            }
            for finding in report.findings
        ],
    }
