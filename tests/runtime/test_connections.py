"""What is said of how many connections a process takes is what its pools come to."""

import gc

from sqlalchemy.pool import AsyncAdaptedQueuePool

from api.app import create_app
from runtime import connections
from runtime.settings import Settings
from tests.conftest import served
from tests.support.conditions import eventually
from tests.support.installations import installation, worker


class Since:
    """The pools of this process that were not there at first."""

    def __init__(self) -> None:
        self._before = _pools()

    def size(self) -> int:
        return sum(each.size() for each in _pools() if each not in self._before)


def _pools() -> list[AsyncAdaptedQueuePool]:
    gc.unfreeze()  # What a process has frozen at its start is not looked through.
    return [each for each in gc.get_objects() if isinstance(each, AsyncAdaptedQueuePool)]


async def test_an_api_takes_as_many_as_is_said(settings: Settings) -> None:
    told = settings.model_copy(update={"database_pool_size": 7, "api_reads_at_once": 3})
    since = Since()

    async with served(create_app(told)):
        assert since.size() == connections.of_api(told) == 15


async def test_a_worker_takes_as_many_as_is_said(settings: Settings) -> None:
    async with installation(settings) as own:
        told = own.model_copy(update={"database_pool_size": 4})
        since = Since()

        async def all_are_there() -> bool:
            return since.size() >= connections.of_worker(told)

        async with worker(told):
            await eventually(all_are_there)
            assert since.size() == connections.of_worker(told) == 8
