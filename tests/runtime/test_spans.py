"""What makes and sends spans: which there are, and what of them leaves."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)

from runtime.spans import DiscreetExporter, RequestSampler

PERSON = "Kim-1f9a"
OF_A_REQUEST = {"http.request.method": "POST"}


class Kept(SpanExporter):
    """Sends nowhere: keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def provider(kept: Kept) -> Iterator[TracerProvider]:
    """Ours for one test, and nobody else's."""
    made = TracerProvider(RequestSampler(1), Resource({}), shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(DiscreetExporter(kept)))
    yield made
    made.shutdown()


@pytest.fixture
def tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("tests")


def begun_outside(sampled: bool) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    state = TraceState([("vendor", PERSON)])
    of_caller = SpanContext(0xABC, 0x1, is_remote=True, trace_flags=flags, trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(of_caller))


def test_of_a_span_only_what_is_listed_leaves(kept: Kept, tracer: Tracer) -> None:
    of_person = {"name": PERSON}
    links = [Link(SpanContext(0xDEF, 0x2, is_remote=True), of_person)]
    attributes = {
        **OF_A_REQUEST,
        "http.route": "/api/v1/orders/{id}",
        "url.path": f"/api/v1/orders/{PERSON}",
        "url.query": f"customerId={PERSON}",
        "client.address": "203.0.113.77",
    }
    with (
        suppress(ValueError),
        tracer.start_as_current_span(
            "POST", begun_outside(True), SpanKind.SERVER, attributes, links
        ) as span,
    ):
        span.set_status(Status(StatusCode.ERROR, f"ValueError: {PERSON}"))
        span.add_event("seen", of_person)
        raise ValueError(f"Key (name)=({PERSON}) exists.")

    [left] = kept.spans
    assert dict(left.attributes or {}) == {**OF_A_REQUEST, "http.route": "/api/v1/orders/{id}"}
    assert [(each.name, dict(each.attributes or {})) for each in left.events] == [
        ("seen", {}),
        ("exception", {"exception.type": "ValueError"}),
    ]
    assert left.status.status_code is StatusCode.ERROR
    assert (left.parent and left.parent.trace_id) == 0xABC
    # As it is told to others, too: of the caller nothing but the ids.
    assert left.context is not None
    assert not left.context.trace_state
    assert PERSON not in left.to_json()


def test_a_trace_begins_with_a_request_only(kept: Kept, tracer: Tracer) -> None:
    for kind, attributes in (
        (SpanKind.CLIENT, {"temporalWorkflowID": "outbox"}),
        (SpanKind.SERVER, {"temporalActivityID": "1"}),
        (SpanKind.CLIENT, OF_A_REQUEST),
        (SpanKind.SERVER, OF_A_REQUEST),
    ):
        with tracer.start_as_current_span("first", kind=kind, attributes=attributes):
            tracer.start_span("second").end()

    assert [(each.name, each.kind) for each in kept.spans] == [
        ("second", SpanKind.INTERNAL),
        ("first", SpanKind.SERVER),
    ]


def test_the_caller_decides_where_it_says_so(kept: Kept, tracer: Tracer) -> None:
    for sampled in (False, True):
        with tracer.start_as_current_span(
            "POST", begun_outside(sampled), SpanKind.SERVER, OF_A_REQUEST
        ):
            tracer.start_span("second").end()

    assert len(kept.spans) == 2


def test_no_share_is_no_trace() -> None:
    kept = Kept()
    provider = TracerProvider(RequestSampler(0), Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("tests")

    tracer.start_span("POST", kind=SpanKind.SERVER, attributes=OF_A_REQUEST).end()
    tracer.start_span("POST", begun_outside(True), SpanKind.SERVER, OF_A_REQUEST).end()

    assert [each.parent is not None for each in kept.spans] == [True]


def test_below_a_customer_of_a_run_there_is_nothing(kept: Kept, tracer: Tracer) -> None:
    with tracer.start_as_current_span("POST", kind=SpanKind.SERVER, attributes=OF_A_REQUEST):
        for child in ("MonthlySettlement", "PaymentSaga"):
            with tracer.start_as_current_span(f"StartChildWorkflow:{child}"):
                tracer.start_span(f"RunWorkflow:{child}").end()

    assert [each.name for each in kept.spans] == [
        *("RunWorkflow:PaymentSaga", "StartChildWorkflow:PaymentSaga", "POST"),
    ]
