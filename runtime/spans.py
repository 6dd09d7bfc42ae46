"""What makes and sends spans. Imported only where traces are wanted."""

import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext, ExecutionContext

from runtime.version import VERSION

ATTRIBUTES = frozenset(
    {
        *("http.request.method", "http.route", "http.response.status_code", "error.type"),
        *("db.system.name", "db.query.text"),
        *("messaging.system", "messaging.destination.name", "messaging.destination.partition.id"),
        *("messaging.kafka.offset", "messaging.consumer.group.name"),
        *("temporalWorkflowID", "temporalRunID", "temporalActivityID", "temporalUpdateID"),
    }
)
"""What may leave in a span. Paths, queries, addresses, bodies and values may not."""

LONGEST_ATTRIBUTE = 500
"""A statement is known by its beginning."""

WAITING = 2_048
AT_ONCE = 1_024
EVERY_MILLISECONDS = 1_000
SECONDS = 3.0
"""Nobody waits for it but the end of the process, which then has three batches to send at most."""

CUT = frozenset({"StartChildWorkflow:MonthlySettlement"})
"""Where a trace ends: below it are all customers of the installation."""


def provider(endpoint: str, service: str, share: float) -> TracerProvider:
    """Sends to a collector from a thread of its own. When that is away or slow, spans are dropped
    and nobody waits."""
    made = TracerProvider(
        sampler=RequestSampler(share),
        resource=Resource.create({"service.name": service, "service.version": VERSION}),
        span_limits=SpanLimits(max_attribute_length=LONGEST_ATTRIBUTE),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SECONDS)
    made.add_span_processor(
        BatchSpanProcessor(
            DiscreetExporter(exporter),
            max_queue_size=WAITING,
            max_export_batch_size=AT_ONCE,
            schedule_delay_millis=EVERY_MILLISECONDS,
        )
    )
    return made


def install(provider: TracerProvider) -> None:
    """Make it the one of this process: for FastAPI, for whoever calls a gateway, and for every
    statement. Only the ids of a trace travel, not what others hang onto it (`baggage`)."""
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    trace.set_tracer_provider(provider)
    _Statements(provider.get_tracer("store")).listen()


class RequestSampler(Sampler):
    """A trace begins with a request of somebody, or was begun by whoever called us; what comes by
    the clock (sweeper, relay, heartbeats) is in none."""

    def __init__(self, share: float) -> None:
        self._some = TraceIdRatioBased(share)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """What others have written beside the ids (`tracestate`) ends here, too."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            wanted = parent.trace_flags.sampled and name not in CUT
            decision = Decision.RECORD_AND_SAMPLE if wanted else Decision.DROP
        elif kind is SpanKind.SERVER and "http.request.method" in (attributes or {}):
            decision = self._some.should_sample(None, trace_id, name).decision
        else:
            decision = Decision.DROP
        return SamplingResult(decision, attributes)

    def get_description(self) -> str:
        return f"RequestSampler{{{self._some.rate}}}"


class DiscreetExporter(SpanExporter):
    """Lets nothing personal out, whichever library wrote it into a span: of its attributes those on
    the list, and of a failure its kind, since its words may quote what they were given."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_discreet(each) for each in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _discreet(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_listed(span.attributes, ATTRIBUTES),
        events=[
            Event(each.name, _listed(each.attributes, {"exception.type"}), each.timestamp)
            for each in span.events
        ],
        links=[Link(each.context) for each in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _listed(attributes: Attributes, names: frozenset[str] | set[str]) -> Attributes:
    return {name: value for name, value in (attributes or {}).items() if name in names}


_TARGET = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|FROM)\s+([a-z_]+)")


class _Statements:
    """A span for each statement of every engine, with its text and without its values.

    Not the instrumentation package for SQLAlchemy: it does not claim to know this version, has to
    be handed each engine, and quotes what the database says of values.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._open = WeakKeyDictionary[ExecutionContext, Span]()

    def listen(self) -> None:
        event.listen(Engine, "before_cursor_execute", self._begin)
        event.listen(Engine, "after_cursor_execute", self._end)
        event.listen(Engine, "handle_error", self._fail)

    def _begin(
        self, _1: Connection, _2: Any, statement: str, _3: Any, of: ExecutionContext, _4: bool
    ) -> None:
        if trace.get_current_span().is_recording():
            attributes = {"db.system.name": "postgresql", "db.query.text": statement}
            self._open[of] = self._tracer.start_span(
                _summary(statement), kind=SpanKind.CLIENT, attributes=attributes
            )

    def _end(
        self, _1: Connection, _2: Any, _3: str, _4: Any, of: ExecutionContext, _5: bool
    ) -> None:
        if (span := self._open.pop(of, None)) is not None:
            span.end()

    def _fail(self, failed: ExceptionContext) -> None:
        if failed.execution_context is None:
            return
        if (span := self._open.pop(failed.execution_context, None)) is not None:
            span.set_attribute("error.type", type(failed.original_exception).__qualname__)
            span.set_status(StatusCode.ERROR)
            span.end()


def _summary(statement: str) -> str:
    """What it does first, and to which table."""
    found = next(_TARGET.finditer(statement), None)
    if found is None:
        return statement.split(maxsplit=1)[0]
    verb, table = found.groups()
    return f"{'SELECT' if verb == 'FROM' else verb} {table}"
