"""`billing doctor`: could a process with these settings do its work here?"""

import asyncio
from typing import Annotated

import orjson
import typer
from rich.console import Console

from cli.options import example
from cli.words import say
from domain.finding import Finding, Verdict
from runtime.doctor import Findings, Process, examine
from runtime.settings import Settings

STYLES = {Verdict.OK: None, Verdict.WARNING: "yellow", Verdict.WRONG: "bold red"}

app = typer.Typer(help="Look whether a process could do its work with these settings.")
_signs = Console(stderr=True)


@app.callback(invoke_without_command=True, epilog=example("doctor --process worker"))
def doctor(
    process: Annotated[Process, typer.Option(help="Whose settings these are.")] = Process.API,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Settings, servers and their versions, roles and grants, schema, topics, namespace, clocks.

    Asks the servers themselves, with the settings of this machine, and no API; changes nothing.
    Exit code 1 when something is wrong.
    """
    found = asyncio.run(_examined(process, as_json))
    wrong = sum(each.verdict is Verdict.WRONG for each in found)
    warnings = sum(each.verdict is Verdict.WARNING for each in found)
    if as_json:
        typer.echo(orjson.dumps({"wrong": wrong, "warnings": warnings, "findings": found}))
    else:
        say(f"{len(found)} findings: {wrong} wrong, {warnings} warnings.", style="bold")
    if wrong:
        raise typer.Exit(1)


async def _examined(process: Process, as_json: bool) -> Findings:
    """Each part is told when it is known."""
    found: Findings = []

    def tell(name: str, findings: Findings) -> None:
        found.extend(findings)
        if not as_json:
            for each in findings:
                _show(each)

    await examine(Settings(), process, tell, _still_asking)
    return found


def _still_asking(names: list[str]) -> None:
    _signs.print(f"still asking: {', '.join(names)} ...", style="dim")


def _show(found: Finding) -> None:
    say(f"{found.verdict:<8}{found.about}: {found.says}", style=STYLES[found.verdict])
    if found.remedy is not None:
        say(f"        {found.remedy}")
