"""Adapter for a PG that speaks the gateway simulator's HTTP API (see dev/simulator)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from domain.gateway import SUCCESS, GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from gateway.client import GatewayProfile, OutcomeUnknown, Unreachable

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_LATER = frozenset({408, 409, 425, 429})
"""Nothing is decided: timed out, in progress, too early, too many requests."""
_CONNECT_SECONDS = 2.0
_LONGEST_WORDS = 500

_tracer = trace.get_tracer(__name__)
"""Makes nothing unless this process sends traces (`runtime/tracing.py`)."""


class HttpGateway:
    """One connection pool to one PG."""

    def __init__(self, profile: GatewayProfile) -> None:
        self._http = httpx2.AsyncClient(
            base_url=profile.url,
            timeout=httpx2.Timeout(profile.read_timeout_seconds, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=profile.concurrent_calls),
        )
        # The client's time-out begins anew with every byte: an answer that drips would never end.
        self._longest_call = _CONNECT_SECONDS + profile.read_timeout_seconds

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        path, body = _command(request)
        response = await self._exchange("POST", path, request.idempotency_key, body)
        return _read(request, response)

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        path = f"/v1/payments/{request.payment_id}"
        if request.operation is Operation.REFUND:
            path += f"/refunds/{request.reference_id}"
        response = await self._exchange("GET", path)
        # Only in the PG's own words: a proxy or a wrong address answers 404 too.
        if response.status_code == 404 and _body(response).get("code") == "not-found":
            return GatewayAnswer(GatewayStatus.NOT_FOUND, message="The PG does not know it.")
        return _read(request, response)

    async def close(self) -> None:
        await self._http.aclose()

    async def _exchange(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx2.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            async with asyncio.timeout(self._longest_call):
                with _tracer.start_as_current_span(method, kind=SpanKind.CLIENT) as span:
                    span.set_attribute("http.request.method", method)
                    propagate.inject(headers)
                    response = await self._http.request(method, path, headers=headers, json=body)
                    span.set_attribute("http.response.status_code", response.status_code)
        except _NEVER_SENT as error:
            raise Unreachable(f"The PG cannot be reached: {error!r}.") from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise OutcomeUnknown(f"No answer from the PG: {error!r}.") from error
        if response.status_code >= 500:
            raise OutcomeUnknown(f"The PG answered {response.status_code}.")
        return response


def _command(request: GatewayRequest) -> tuple[str, dict[str, object]]:
    money: dict[str, object] = {"amount": request.amount, "currency": request.currency}
    payment = f"/v1/payments/{request.payment_id}"
    match request.operation:
        case Operation.CHARGE | Operation.AUTHORIZE:
            capture = request.operation is Operation.CHARGE
            card = {"orderId": request.payment_id, "billingKey": request.billing_key}
            return "/v1/charges", {**card, **money, "capture": capture}
        case Operation.CAPTURE:
            return f"{payment}/capture", money
        case Operation.VOID:
            return f"{payment}/void", {}
        case Operation.REFUND:
            return f"{payment}/refunds", {"refundId": request.reference_id, **money}


def _read(request: GatewayRequest, response: httpx2.Response) -> GatewayAnswer:
    """Turn an answer into a status, believing it only if it is about what we asked."""
    body = _body(response)
    if response.status_code in _LATER:
        return GatewayAnswer(
            GatewayStatus.UNKNOWN,
            code=_words(body.get("code")),
            message=f"The PG answered {response.status_code}: nothing is decided.",
        )
    if "status" not in body and 400 <= response.status_code < 500:
        code, message = _words(body.get("code")), _words(body.get("message"))
        if code is None:
            raise OutcomeUnknown(f"A {response.status_code} that is not in the PG's words.")
        return GatewayAnswer(GatewayStatus.REFUSED, code=code, message=message)
    _verify(request, body)
    return GatewayAnswer(
        status=_status(request, body),
        reference=_words(body.get("id")),
        code=_words(body.get("declineCode")),
        message=_words(body.get("declineMessage")),
    )


def _body(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise OutcomeUnknown("The PG's answer is not JSON.") from error
    if not isinstance(body, dict):
        raise OutcomeUnknown("The PG's answer is not an object.")
    return body


def _words(value: object) -> str | None:
    """A text of the PG as every table and history can hold it: no NUL, no lone surrogate, short."""
    if not isinstance(value, str):
        return None
    return value.encode(errors="replace").decode().replace("\0", "")[:_LONGEST_WORDS]


def _verify(request: GatewayRequest, body: Mapping[str, Any]) -> None:
    expected = {
        "orderId": request.payment_id,
        "amount": request.amount,
        "currency": request.currency,
    }
    if request.operation is Operation.REFUND:
        expected["refundId"] = request.reference_id
    wrong = [name for name, value in expected.items() if body.get(name) != value]
    if wrong:
        raise OutcomeUnknown(f"The PG's answer is about another {' and '.join(wrong)}.")


def _status(request: GatewayRequest, body: Mapping[str, Any]) -> GatewayStatus:
    """What the PG's word for the payment (or refund) means for this operation."""
    said = body.get("status")
    if said == SUCCESS[request.operation]:
        return GatewayStatus(said)
    if said == "DECLINED" or body.get("declineCode"):
        return GatewayStatus.DECLINED
    if said == "AUTHORIZED" and request.operation in (Operation.CAPTURE, Operation.VOID):
        # The capture or void that we ask about has not happened.
        return GatewayStatus.NOT_FOUND
    if said == "CAPTURED" and request.operation is Operation.VOID:
        # Not "no": what is to be let go has been taken.
        return GatewayStatus.CAPTURED
    if said == "VOIDED" and request.operation in (Operation.AUTHORIZE, Operation.CAPTURE):
        # It was let go: by an earlier run of ours, or by the PG.
        return GatewayStatus.DECLINED
    if said == "CAPTURED" and request.operation is Operation.AUTHORIZE:
        # Nothing is captured that was not authorized.
        return GatewayStatus.AUTHORIZED
    raise OutcomeUnknown(f"The PG says {_words(said)!r}, which is no outcome of this request.")
