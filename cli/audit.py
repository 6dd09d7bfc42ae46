"""`billing audit`: who did what, and the proof that nobody has changed it since.

The list asks the API. All else looks at the database itself, and only then is `cli.audit_trail`
imported: that takes longer than an answer of the API.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from api.documents.audit import Entry
from cli.listing import Listing, listed, pages
from cli.options import Customer, Moment, example, moment
from cli.refused import Refused
from cli.words import reason_given, say
from domain.audit import Action, Noun, Wanted, is_anchor
from domain.audit_export import Format


def _changes(entry: Entry) -> str:
    """`amount: 5 → 7`, `status: PAID`."""
    before = entry.before or {}
    return ", ".join(
        f"{name}: {before[name]} → {value}" if name in before else f"{name}: {value}"
        for name, value in (entry.after or {}).items()
    )


COLUMNS: Mapping[str, Callable[[Entry], object]] = {
    "at": lambda each: each.at,
    "action": lambda each: each.action,
    "actorId": lambda each: each.actor_id,
    "targetType": lambda each: each.target_type,
    "targetId": lambda each: each.target_id,
    "customerId": lambda each: each.customer_id,
    "reason": lambda each: each.reason,
    "after": _changes,
}

app = typer.Typer(help="Who did what, and the proof of it.", no_args_is_help=True)


@app.command("list", epilog=example("audit list --customer acme-corp --limit 200"))
@listed
def list_(
    action: Annotated[Action | None, typer.Option(help="Only this, e.g. INVOICE_APPROVED.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    target_type: Annotated[Noun | None, typer.Option(help="Only of such things.")] = None,
    target_id: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    customer: Customer = None,
    since: Moment = None,
    until: Moment = None,
) -> Listing[Entry]:
    """List what was done, newest first."""
    wanted = {
        "action": action,
        "actor": actor,
        "targetType": target_type,
        "targetId": target_id,
        "customerId": customer,
        "from": moment(since),
        "to": moment(until),
    }
    return Listing(Entry, pages("/api/v1/audit", wanted), COLUMNS, "Nothing was done.")


@app.command(epilog=example("audit verify --from 12"))
def verify(
    anchor: Annotated[
        list[str] | None, typer.Option(help="A line of `billing audit anchor`, e.g. 12:6d3f…")
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option(help="A file of such lines.", exists=True, dir_okay=False)
    ] = None,
    after: Annotated[int, typer.Option("--from", help="Only what follows this seal.", min=0)] = 0,
) -> None:
    """Compute the chain of seals again from the entries; exit code 1 where it breaks.

    A tail that was cut off, and a chain that was made anew as a whole, only an anchor shows.
    """
    from cli.audit_trail import verified

    kept = [*(anchor or []), *([] if anchors is None else anchors.read_text().split())]
    for each in kept:
        if not is_anchor(each):
            raise Refused(f"{each[:80]!r} is no anchor: they look like 12:6d3f… (64 digits).")
    head, found = asyncio.run(verified(kept, after))
    for each_break in found:
        say(f"seal {each_break.n}: {each_break.wrong}", style="bold red")
    if found:
        say("The audit trail is not as it was sealed: docs/operations.md says what to do.")
        raise typer.Exit(1)
    say(f"The audit trail is as it was sealed, up to seal {head.n}; {len(kept)} anchors hold.")


@app.command(epilog=example("audit anchor"))
def anchor() -> None:
    """Print the last seal, to be kept where nobody of here can change it."""
    from cli.audit_trail import last_seal

    typer.echo(asyncio.run(last_seal()).anchor)


@app.command(epilog=example("audit cut --reason 'seven years are over'"))
def cut(reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")]) -> None:
    """Drop what is older than AUDIT_DAYS; the chain then begins with the last seal of it."""
    from cli.audit_trail import dropped

    done = asyncio.run(dropped(reason_given(reason)))
    if done is None:
        say("Nothing is old enough.")
        return
    seed, entries = done
    say(f"{entries} entries were dropped. Keep elsewhere where the chain begins now:")
    say(seed.anchor)


@app.command(epilog=example("audit export --format ocsf --since 2026-05-01"))
def export(
    form: Annotated[Format, typer.Option("--format", help="What each line is.")] = Format.JSONL,
    since: Moment = None,
    until: Moment = None,
) -> None:
    """Write every entry as a line, oldest first; that this was done is noted."""
    from cli.audit_trail import exported

    asyncio.run(exported(form, Wanted(since=_utc(since), until=_utc(until))))


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
