"""Compensation: what was done is undone, newest first, when the block is left by a failure.

    async with Saga() as saga:
        saga.on_failure(undo_a)   # before the step: a lost answer may hide an effect
        await step_a()
        await pivot()
    # The money has moved: from here only forward.

A *failure* is what Temporal calls one (a refused or exhausted activity, a cancellation). Any other
exception is a bug: nothing is undone, the workflow waits for a fixed worker and then goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

Undo = Callable[[], Awaitable[None]]
"""Finds out whether its step happened, then undoes it; harmless when it did not, and twice."""

Result = TypeVar("Result")


class Saga:
    """Collects undos; runs them to completion when its block fails."""

    def __init__(self) -> None:
        self._undos: list[Undo] = []

    def on_failure(self, undo: Undo) -> None:
        """Announce how to undo the step that comes next."""
        self._undos.append(undo)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A run that a worker throws away is only closed: nothing can be awaited in it any more, and
        # it goes on from its history.
        if error is None or isinstance(error, GeneratorExit):
            return
        if is_cancelled_exception(error) or workflow.is_failure_exception(error):
            await to_completion(self._unwind())

    async def _unwind(self) -> None:
        while self._undos:
            await self._undos.pop()()


async def to_completion(work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work` to its end, whatever is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                break
    return task.result()


def cancel_requested() -> bool:
    """After local steps a cancellation is not delivered by itself: ask before the pivot."""
    return workflow.cancellation_reason() is not None
