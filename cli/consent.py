"""What moves money is shown before it is done: `--dry-run` only shows it, `--yes` agrees to it
beforehand, and on a terminal it is asked. A command says what it would do, and how."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.calling import Api, calling
from cli.options import with_options_of
from cli.refused import Refused
from cli.words import remark, say

NOTHING_DONE = "Nothing is done."


@dataclass(frozen=True)
class Prospect:
    """What would be done, in sentences; `act` does that and no more. None: there is nothing to
    do."""

    words: Sequence[str]
    act: Callable[[], Awaitable[None]] | None


Decision = Callable[[Api], Awaitable[Prospect]]
"""Reads what it would come to."""


def agreed(command: Callable[..., Decision]) -> Callable[..., None]:
    """The command that does what this one decides, once somebody has agreed to it."""

    def done(
        *,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Only say what would be done.")
        ] = False,
        **rest: Any,
    ) -> None:
        decision = command(**rest)
        if yes and dry_run:
            raise Refused("--yes or --dry-run: one of them.")
        if not (yes or dry_run or sys.stdin.isatty()):
            raise Refused(
                "Nobody is here to be asked: say --yes to do it, or --dry-run to see what would be "
                "done."
            )
        asyncio.run(_carry_out(decision, yes, dry_run))

    with_options_of(command, done)
    return done


async def _carry_out(decision: Decision, yes: bool, dry_run: bool) -> None:
    async with calling() as api:
        prospect = await decision(api)
        if not yes or prospect.act is None:
            _tell(prospect, asking=not (dry_run or yes))
        if prospect.act is None:
            return
        if dry_run:
            remark(f"{NOTHING_DONE} The same with --yes instead of --dry-run does it.")
            return
        if not yes and not _asked():
            raise Refused(NOTHING_DONE)
        await prospect.act()


def _tell(prospect: Prospect, asking: bool) -> None:
    """What was asked for, or what comes before the question."""
    for line in prospect.words:
        if asking and prospect.act is not None:
            remark(line)
        else:
            say(line)


def _asked() -> bool:
    """What a person types. Ctrl-C ends the question at once, where asyncio would only note it."""
    noted = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typer.echo("Do it? [y/N] ", nl=False, err=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, noted)
