"""Two steps with their undos, and ways to leave the block: what test_saga.py runs."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.saga import Saga, to_completion


class Refusing:
    """Keeps a diary of what was done and undone; each undo takes a while."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.hurry = False

    async def play(self) -> list[str]:
        try:
            async with Saga() as saga:
                saga.on_failure(self._undo_first)
                self.diary.append("first")
                saga.on_failure(self._undo_second)
                self.diary.append("second")
                await self.leave()
            self.diary.append("past the pivot")
        except (ApplicationError, asyncio.CancelledError) as error:
            self.diary.append(type(error).__name__)
        return self.diary

    async def leave(self) -> None:
        raise ApplicationError("refused", non_retryable=True)

    async def _undo_first(self) -> None:
        self.diary.append("first undone")

    async def _undo_second(self) -> None:
        await workflow.wait_condition(lambda: self.hurry)
        self.diary.append("second undone")


@workflow.defn(name="Refused")
class Refused(Refusing):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.play()

    @workflow.signal
    def go_on(self) -> None:
        self.hurry = True


@workflow.defn(name="Waiting")
class Waiting(Refusing):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.play()

    @workflow.signal
    def go_on(self) -> None:
        self.hurry = True

    @workflow.query
    def seen(self) -> list[str]:
        return self.diary

    async def leave(self) -> None:
        await asyncio.sleep(3600)


@workflow.defn(name="Mended")
class Broken(Refusing):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.play()

    async def leave(self) -> None:
        raise KeyError("a bug")


@workflow.defn(name="Mended")
class Mended(Refusing):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.play()

    async def leave(self) -> None:
        return


@workflow.defn(name="Finishing")
class Finishing:
    """Work that must not be left half done."""

    def __init__(self) -> None:
        self.hurry = False

    @workflow.run
    async def run(self) -> str:
        return await to_completion(self._work())

    @workflow.signal
    def go_on(self) -> None:
        self.hurry = True

    async def _work(self) -> str:
        await workflow.wait_condition(lambda: self.hurry)
        return "whole"
