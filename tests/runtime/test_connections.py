"""What is said of how many connections a process takes is what its pools come to."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.app import create_app
from runtime import connections
from runtime.settings import Settings
from store import database
from tests.conftest import served
from tests.support.conditions import eventually
from tests.support.installations import installation, worker


class Made:
    """The pools that this process makes from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._engines: list[AsyncEngine] = []

        def noted(*arguments: Any, **more: Any) -> AsyncEngine:
            self._engines.append(engine := create_async_engine(*arguments, **more))
            return engine

        monkeypatch.setattr(database, "create_async_engine", noted)

    def size(self) -> int:
        return sum(each.pool.size() for each in self._engines)  # type: ignore[attr-defined]


async def test_an_api_takes_as_many_as_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = settings.model_copy(update={"database_pool_size": 7, "api_reads_at_once": 3})
    made = Made(monkeypatch)

    async with served(create_app(told)):
        assert made.size() == connections.of_api(told) == 15


async def test_a_worker_takes_as_many_as_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with installation(settings) as own:
        told = own.model_copy(update={"database_pool_size": 4})
        made = Made(monkeypatch)

        async def all_are_there() -> bool:
            return made.size() >= connections.of_worker(told)

        async with worker(told):
            await eventually(all_are_there)
            assert made.size() == connections.of_worker(told) == 8
