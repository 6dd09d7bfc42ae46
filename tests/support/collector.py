"""Where traces go: a collector that understands OTLP over HTTP, as far as a test asks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

from tests.support.local_server import Request, Response, local_server


@dataclass(frozen=True)
class Span:
    """One span as it came, and of which service."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    attributes: dict[str, str]
    failed: bool


@dataclass
class Collector:
    """Keeps what it is sent. `answers` is cleared to let whoever sends wait."""

    raw: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: Request) -> Response:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        self.raw.append(request.body)
        await self.answers.wait()
        for of_process in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            about = {each.key: each.value.string_value for each in of_process.resource.attributes}
            for scope in of_process.scope_spans:
                self.spans += [_span(about["service.name"], each) for each in scope.spans]
        return Response(body="", media_type="application/x-protobuf")

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """By id."""
        return {each.span_id: each for each in self.spans if each.trace_id == trace_id}


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    """A collector and its address, while it runs."""
    collector = Collector()
    collector.answers.set()
    async with local_server(collector.take) as address:
        yield collector, address
        # Nobody waits for it any more.
        collector.answers.set()


@contextmanager
def collecting_beside() -> Iterator[tuple[Collector, str]]:
    """The same for tests that block, in the loop of a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    there = collecting()
    try:
        yield asyncio.run_coroutine_threadsafe(there.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(there.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _span(service: str, sent: Sent) -> Span:
    return Span(
        service,
        sent.name,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        Sent.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_"),
        {each.key: each.value.string_value for each in sent.attributes},
        sent.status.code == sent.status.STATUS_CODE_ERROR,
    )
