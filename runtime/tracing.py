"""Traces: whether there are any, and what of them must be known where nothing else is.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Off, only OpenTelemetry's API is imported, as it is
by FastAPI anyway, and no span is made: what makes and sends them is `runtime/spans.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import ProxyTracerProvider, SpanKind
from temporalio.client import Interceptor

from domain.message import Message
from runtime.settings import Settings


@asynccontextmanager
async def sending(settings: Settings, service: str) -> AsyncIterator[None]:
    """Send the traces of this process for the length of the block, if anybody wants them; what is
    left at its end is sent then, for some seconds at most."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        yield
        return
    from runtime import spans

    provider = spans.provider(endpoint, service, settings.otel_traces_sampler_arg)
    spans.install(provider)
    try:
        yield
    finally:
        await asyncio.to_thread(provider.shutdown)


def of_temporal(settings: Settings) -> Sequence[Interceptor]:
    """What carries a trace through Temporal, from whoever starts a workflow to its activities."""
    if settings.otel_exporter_otlp_endpoint is None:
        return ()
    from temporalio.contrib.opentelemetry import TracingInterceptor

    return (TracingInterceptor(),)


@contextmanager
def taking(consumer: str, messages: Sequence[Message]) -> Iterator[None]:
    """A span for each message, in the trace of whoever sent it."""
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        yield
        return
    tracer = trace.get_tracer(__name__)
    begun = [
        tracer.start_span(
            f"process {each.topic}",
            propagate.extract(_carrier(each)),
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.destination.name": each.topic,
                "messaging.destination.partition.id": str(each.partition),
                "messaging.kafka.offset": each.offset,
                "messaging.consumer.group.name": consumer,
            },
        )
        for each in messages
    ]
    try:
        yield
    finally:
        for span in begun:
            span.end()


def _carrier(message: Message) -> dict[str, str]:
    """The one header that is understood."""
    return {
        name: value.decode(errors="replace")
        for name, value in message.headers
        if name == "traceparent" and value is not None
    }
