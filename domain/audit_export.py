"""Entries of the audit trail as others read them: line by line, as we keep them or in the Open
Cybersecurity Schema (OCSF), which log systems know."""

from enum import StrEnum
from typing import Any

from domain.audit import STAFF, Action, ActorType, AuditEntry


class Format(StrEnum):
    JSONL = "jsonl"
    OCSF = "ocsf"


OCSF_VERSION = "1.3.0"
_CATEGORY, _CLASS = 6, 6003
"""Application activity: API activity."""
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_INFORMATIONAL = 1
_CREATES = frozenset(
    {
        Action.PLAN_VERSION_ADDED,
        Action.CUSTOMER_CREATED,
        Action.PAYMENT_METHOD_ADDED,
        Action.COUPON_CREATED,
        Action.COUPON_CLAIMED,
        Action.STOCK_CREATED,
        Action.ORDER_CREATED,
        Action.PAYMENT_CREATED,
        Action.REFUND_CREATED,
        Action.TOP_UP_CREATED,
        Action.TOP_UP_BOOKED,
        Action.SETTLEMENT_STARTED,
        Action.SETTLEMENT_RUN_STARTED,
        Action.SETTLEMENT_RUN_REPLAYED,
        Action.INVOICE_ISSUED,
        Action.DECISION_PROPOSED,
        Action.LOGGED_IN,
        Action.USER_CREATED,
        Action.SIGNING_KEY_ADDED,
    }
)
_READS = frozenset({Action.DATA_VIEWED, Action.DATA_EXPORTED})
_DELETES = frozenset(
    {
        Action.PLAN_WITHDRAWN,
        Action.USAGE_VOIDED,
        Action.DECISION_WITHDRAWN,
        Action.SESSION_REVOKED,
        Action.SIGNING_KEY_WITHDRAWN,
    }
)
_USER, _ADMIN, _SYSTEM = 1, 2, 3
_TYPES = {
    ActorType.USER: _USER,
    ActorType.SYSTEM: _SYSTEM,
    **dict.fromkeys(STAFF, _ADMIN),
}


def written(entry: AuditEntry) -> dict[str, Any]:
    """Every field, by the names that the API has for them."""
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "actorType": entry.actor_type,
        "actorId": entry.actor_id,
        "ip": entry.ip,
        "userAgent": entry.user_agent,
        "action": entry.action,
        "targetType": entry.noun,
        "targetId": entry.target_id,
        "customerId": entry.customer_id,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "traceId": entry.trace_id,
        "requestId": entry.request_id,
    }


def ocsf(entry: AuditEntry, product_version: str) -> dict[str, Any]:
    """The same as an API Activity; what that has no place for stands in `unmapped`."""
    activity = _activity(entry.action)
    kept = written(entry)
    user = {"uid": entry.actor_id, "type_id": _type(entry.actor_type)}
    mapped = {
        "category_uid": _CATEGORY,
        "class_uid": _CLASS,
        "activity_id": activity,
        "type_uid": _CLASS * 100 + activity,
        "severity_id": _INFORMATIONAL,
        "time": round(entry.at.timestamp() * 1000),
        "metadata": {
            "version": OCSF_VERSION,
            "uid": str(entry.id),
            "product": {"name": "durable-billing", "version": product_version},
        },
        "actor": {"user": user},
        "api": {"operation": entry.action, "request": {"uid": entry.request_id or ""}},
        "resources": [{"type": entry.noun, "uid": entry.target_id}],
        "src_endpoint": {"ip": entry.ip} if entry.ip else {"name": "local"},
        "unmapped": {
            name: kept[name]
            for name in ("actorType", "customerId", "traceId", "before", "after", "reason")
        },
    }
    if entry.user_agent:
        mapped["http_request"] = {"user_agent": entry.user_agent}
    return mapped


def _activity(action: str) -> int:
    """99 for one that we no longer do."""
    if action not in set(Action):
        return _OTHER
    for activity, actions in ((_CREATE, _CREATES), (_READ, _READS), (_DELETE, _DELETES)):
        if action in actions:
            return activity
    return _UPDATE


def _type(actor_type: str) -> int:
    return _TYPES.get(ActorType(actor_type), _OTHER)
