"""Options that many commands have, declared once."""

from collections.abc import Callable
from datetime import UTC, datetime
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from cli.refused import Refused
from domain.identifier import UUID, has_form

AsJson = Annotated[bool, typer.Option("--json", help="For programs: the API's document.")]

CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="As listed, e.g. acme-corp.")]
Customer = Annotated[str | None, typer.Option("--customer", help="Only this one's.")]
EXAMPLE_ID = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]
"""How a moment may be written; in UTC where it says nothing else."""
Moment = Annotated[datetime | None, typer.Option(formats=MOMENTS)]


def moment(given: datetime | None) -> str | None:
    """As the API takes it: in UTC where nothing else is said."""
    if given is None:
        return None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).isoformat()


def as_id(text: str) -> str:
    """An id in the form that the database compares; raises `Refused` for what is none."""
    if not has_form(text, UUID):
        raise Refused(f"{text!r} is not an id: they look like {EXAMPLE_ID}.")
    return text.lower()


def example(words: str) -> str:
    """What the help of a command ends with; a test parses each of them."""
    return f"Example: billing {words}"


def with_options_of(command: Callable[..., Any], around: Callable[..., None]) -> None:
    """Let `around` take what `command` takes, and then its own keywords, and be explained as
    `command` is: Typer reads signatures."""
    given = signature(command, eval_str=True)
    own = signature(around, eval_str=True).parameters.values()
    more = [each for each in own if each.kind is Parameter.KEYWORD_ONLY]
    taken = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in given.parameters.values()]
    around.__signature__ = given.replace(parameters=[*taken, *more])  # type: ignore[attr-defined]
    around.__name__, around.__doc__ = command.__name__, command.__doc__
