"""What a worker says of itself over HTTP: whether it lives, whether it works, and its metrics."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from runtime import figures, metrics, temporal
from runtime.figures import FigureReader
from runtime.settings import ConfigurationError, Settings, WorkerQueue
from service import deployment, health
from service.temporal import UNREACHABLE, TemporalUnreachable
from store import database
from store.database import Database

ANSWER_WITHIN = timedelta(seconds=2)


class Standing:
    """How far a worker has come."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._client: Client | None = None
        self._database: Database | None = None
        self._queues: Sequence[str] = ()

    def works(self, client: Client, database: Database, queues: Sequence[str]) -> None:
        """From now on it serves these, and should be known to Temporal as one that polls those of
        them that are task queues."""
        self._client, self._database, self._queues = client, database, queues

    @property
    def serves(self) -> str:
        """What it is there for, once it works."""
        return f"It serves {', '.join(self._queues)}."

    async def missing(self) -> list[str]:
        """What keeps it from its work, a sentence each.

        Not whether it has slots left: one that has not is at work, and the metrics of the SDK tell
        of them.
        """
        if self._stop.is_set():
            return ["It has been told to stop."]
        if self._client is None or self._database is None:
            return ["Temporal has not been reached yet: no task queue is polled."]
        said = [_database_answers(self._database)]
        polled = [each for each in self._queues if each != WorkerQueue.CONSUMERS]
        said += [_is_polled(self._client, queue) for queue in polled]
        return [sentence for sentence in await asyncio.gather(*said) if sentence]

    async def remarks(self) -> list[str]:
        """What somebody should know of, and what no other process would do better.

        A workflow that no code can go on with is no reason to be out of service: whoever took its
        workers away for it would stop all the others too.
        """
        if self._client is None:
            return []
        with suppress(TemporalUnreachable, TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                stuck = await deployment.stuck(self._client)
            if stuck.total:
                return [f"Workflows that cannot go on: {stuck.total}. See `billing deploy stuck`."]
        return []


async def _database_answers(pool: Database) -> str:
    try:
        await health.ready(pool)
    except (*database.ERRORS, OSError):
        return "The database does not answer."
    return ""


async def _is_polled(client: Client, queue: str) -> str:
    """Whether Temporal has us among those that ask for workflow tasks. Activities are not asked for
    while their slots are taken, as the relay's always is."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        told = await client.workflow_service.describe_task_queue(request, timeout=ANSWER_WITHIN)
    except UNREACHABLE:
        return f"Temporal does not say who polls the task queue {queue}."
    if client.identity in {each.identity for each in told.pollers}:
        return ""
    return f"The task queue {queue} is not polled."


@asynccontextmanager
async def listening(settings: Settings, standing: Standing) -> AsyncIterator[None]:
    """Answer for the length of the block, if the settings name a port; raises `ConfigurationError`
    where somebody else has it."""
    if settings.worker_port is None:
        yield
        return
    listener = _listen(settings.api_host, settings.worker_port)
    # A client of its own: there may be no other one yet, and figures are read all the same.
    async with figures.reading(settings, await temporal.connect_later(settings)) as reader:
        config = uvicorn.Config(
            _app(standing, reader), log_config=None, access_log=False, lifespan="off"
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Signals are for the worker, which stops this one last."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"WORKER_PORT: nothing can listen at {host}:{port}: {error.strerror}."
        ) from error


def _app(standing: Standing, reader: FigureReader) -> Starlette:
    async def live(_: Request) -> Response:
        return PlainTextResponse("live")

    async def ready(_: Request) -> Response:
        if missing := await standing.missing():
            return PlainTextResponse("\n".join(missing), 503)
        return PlainTextResponse("\n".join(["ready", standing.serves, *await standing.remarks()]))

    async def shown(_: Request) -> Response:
        return Response(metrics.rendered(reader), media_type=metrics.MEDIA_TYPE)

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", shown),
        ]
    )
