"""Where a request came from: what is noted of it beside its caller."""

from opentelemetry import trace
from starlette.requests import HTTPConnection

from api.address import UNKNOWN
from domain.access import Source
from domain.identifier import IDEMPOTENCY_KEY, TRACEPARENT, has_form

MAX_USER_AGENT = 500


def of(request: HTTPConnection, address: str) -> Source:
    """As far as it says; what has no proper form is left out, and is no mistake of the caller."""
    headers = request.headers
    agent = "".join(each for each in headers.get("user-agent", "") if each.isprintable())
    begun, request_id = traceparent(headers.get("traceparent")), headers.get("x-request-id")
    return Source(
        ip=None if address == UNKNOWN else address,
        user_agent=agent[:MAX_USER_AGENT] or None,
        trace_id=begun and begun.split("-")[1],
        request_id=request_id if has_form(request_id, IDEMPOTENCY_KEY) else None,
    )


def traceparent(said: str | None) -> str | None:
    """Of what this request is a part: its own span where there are traces, which is in the caller's
    trace if there is one; else what the caller says, if it has the proper form."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return said if has_form(said, TRACEPARENT) else None
