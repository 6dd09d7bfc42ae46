"""Adapter for a PG that speaks the gateway simulator's HTTP API (see dev/simulator)."""

from collections.abc import Mapping
from typing import Any

import httpx2

from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from gateway.client import GatewayProfile, OutcomeUnknown, Unreachable

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class HttpGateway:
    """One connection pool to one PG."""

    def __init__(self, profile: GatewayProfile) -> None:
        self._http = httpx2.AsyncClient(
            base_url=profile.url,
            timeout=httpx2.Timeout(profile.read_timeout_seconds, connect=2.0),
            limits=httpx2.Limits(max_connections=profile.concurrent_calls),
        )

    async def send(self, request: GatewayRequest) -> GatewayAnswer:
        path, body = _command(request)
        response = await self._exchange("POST", path, request.idempotency_key, body)
        return _read(request, response)

    async def inquire(self, request: GatewayRequest) -> GatewayAnswer:
        path = f"/v1/payments/{request.payment_id}"
        if request.operation is Operation.REFUND:
            path += f"/refunds/{request.reference_id}"
        response = await self._exchange("GET", path)
        if response.status_code == 404:
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
            response = await self._http.request(method, path, headers=headers, json=body)
        except _NEVER_SENT as error:
            raise Unreachable(f"The PG cannot be reached: {error!r}.") from error
        except httpx2.HTTPError as error:
            raise OutcomeUnknown(f"No answer from the PG: {error!r}.") from error
        if response.status_code >= 500:
            raise OutcomeUnknown(f"The PG answered {response.status_code}.")
        return response


def _command(request: GatewayRequest) -> tuple[str, dict[str, object]]:
    money: dict[str, object] = {"amount": request.amount, "currency": request.currency}
    if request.operation is Operation.CHARGE:
        charge = {"orderId": request.payment_id, "billingKey": request.billing_key}
        return "/v1/charges", {**charge, **money, "capture": True}
    return (
        f"/v1/payments/{request.payment_id}/refunds",
        {"refundId": request.reference_id, **money},
    )


def _read(request: GatewayRequest, response: httpx2.Response) -> GatewayAnswer:
    """Turn an answer into a status, believing it only if it is about what we asked."""
    try:
        body = response.json()
    except ValueError as error:
        raise OutcomeUnknown("The PG's answer is not JSON.") from error
    if not isinstance(body, dict):
        raise OutcomeUnknown("The PG's answer is not an object.")
    code = response.status_code
    if code == 409:
        return GatewayAnswer(
            GatewayStatus.UNKNOWN, code=body.get("code"), message="The PG is still working on it."
        )
    if "status" not in body and 400 <= code < 500:
        return GatewayAnswer(
            GatewayStatus.REFUSED, code=str(body.get("code")), message=str(body.get("message"))
        )
    _verify(request, body)
    return GatewayAnswer(
        status=_status(request, body),
        reference=body.get("id"),
        code=body.get("declineCode"),
        message=body.get("declineMessage"),
    )


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
    done = {Operation.CHARGE: "CAPTURED", Operation.REFUND: "REFUNDED"}[request.operation]
    if body["status"] == done:
        return GatewayStatus(done)
    if body["status"] == "DECLINED":
        return GatewayStatus.DECLINED
    raise OutcomeUnknown(f"The PG says {body['status']!r}, which is no outcome of this request.")
