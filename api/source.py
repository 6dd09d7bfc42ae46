"""Where a request came from: what is noted of it beside its caller."""

from starlette.requests import HTTPConnection

from api.address import UNKNOWN
from domain.access import Source
from domain.identifier import IDEMPOTENCY_KEY, TRACEPARENT, has_form

MAX_USER_AGENT = 500


def of(request: HTTPConnection, address: str) -> Source:
    """As far as it says; what has no proper form is left out, and is no mistake of the caller."""
    headers = request.headers
    agent = "".join(each for each in headers.get("user-agent", "") if each.isprintable())
    trace, request_id = headers.get("traceparent"), headers.get("x-request-id")
    return Source(
        ip=None if address == UNKNOWN else address,
        user_agent=agent[:MAX_USER_AGENT] or None,
        trace_id=trace.split("-")[1] if has_form(trace, TRACEPARENT) else None,
        request_id=request_id if has_form(request_id, IDEMPOTENCY_KEY) else None,
    )
