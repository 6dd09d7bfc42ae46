"""`billing worker --queues …`: what one process serves."""

import typer

from runtime.settings import WorkerQueue


def served(names: str) -> list[WorkerQueue]:
    """The queues of these names, with commas between; raises what Typer says of an option."""
    named = [each.strip() for each in names.split(",")]
    strange = [each for each in named if each not in list(WorkerQueue)]
    if strange:
        raise typer.BadParameter(f"There is no queue `{strange[0]}`, but {', '.join(WorkerQueue)}.")
    if len(set(named)) != len(named):
        raise typer.BadParameter("Name each queue once.")
    return [WorkerQueue(each) for each in named]
