"""No input gives a 5xx and none that is refused leaves a trace: every POST and PUT, row by row."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import func, select
from standardwebhooks import Webhook

from api.app import create_app
from api.bodies import LONGER, MAX_BYTES
from domain.access import SYSTEM
from domain.dead_letter import JobState, LetterSource, Operation, Wanted
from runtime.settings import Settings
from store import dead_letter_job, invoice
from store.database import Database
from store.tables import gateway_webhooks
from tests.api.documents import problem_of, refused, rows_of
from tests.conftest import SECRET
from tests.support.audit import SOMEBODY
from tests.support.billing import Billing
from tests.support.letters import DLQ, many
from tests.support.samples import new_id, new_period

NOT_AMOUNTS = [0, -1, 1000.5, 1000.0, 1e3, 2**63, 2**64, 10**30, -(2**63), True, False, "1000"]
NOT_AMOUNTS += [[], [1000], {}, {"value": 1000}, 10**12 + 1]
NOT_TEXTS = [1, 1.5, True, [], ["KRW"], {}, "", " ", "x" * 10_000, "한글", "a b", "a\n", "💸"]
NOT_CURRENCIES = [*NOT_TEXTS, "krw", "KR", "KRWW", "ABC", "XAU", "XXX", "₩₩₩", "KRW ", "KRW\n"]
NOT_IDS = [*NOT_TEXTS, 10**30, str(2**64), f"{uuid4()}\n", f"{{{uuid4()}}}", uuid4().hex, "g" * 36]
NOT_CUSTOMERS = [*NOT_TEXTS, "x" * 65, "a/b", "../etc", "a%00", "' OR 1=1 --"]
NOT_REASONS = [1, True, [], {}, "", "x" * 501]
NOT_CHOICES = [1, True, [], {}, "", "card", "CARD ", "PAYPAL", "x" * 10_000]
_COUPON_OPTIONS = frozenset(
    {"amounts", "minimumOrder", "customerLimit", "totalLimit", "issueLimit"}
)
_VALID = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}
NOT_TIMES = [
    "1767225600",
    1.5,
    True,
    [],
    {},
    "",
    "now",
    "2026-02-30T00:00:00Z",
    "2026-05-01T00:00:00",
    "x" * 99,
]
NOT_TIMES += ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]
NOT_BOOLEANS = [0, 1, "true", "", [], {}, "x" * 10_000]

MISSING = object()

Send = Callable[..., Awaitable[httpx2.Response]]


@dataclass(frozen=True)
class Call:
    """A good request to one route: each hostile one differs from it in one thing."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """`wrong`: by field, what it must not be. `accepted`: the answer to the good request."""

    good: Callable[[Billing], Awaitable[Call]]
    wrong: Mapping[str, list[Any]]
    accepted: int = 201
    body_required: bool = True
    method: str = "POST"
    optional: frozenset[str] = field(default_factory=frozenset)
    takes_lists: bool = False


async def _order(billing: Billing) -> Call:
    item = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
    customer = {"customerId": billing.customer_id}
    return Call("/api/v1/orders", {"currency": "KRW", "items": [item], **customer})


async def _question(billing: Billing) -> Call:
    return Call("/auth/check", {"action": "orders.read", "customerId": billing.customer_id})


async def _payment(billing: Billing) -> Call:
    await billing.top_up(1000)
    card = await billing.add_card("4242424242424242")
    parts = {"method": "SPLIT", "walletAmount": 100, "paymentMethodId": card}
    return Call("/api/v1/payments", {"orderId": await billing.order(), **parts})


async def _cancel(billing: Billing) -> Call:
    paid = await billing.pay(await billing.order())
    return Call(f"/api/v1/payments/{paid['id']}/cancel", {})


async def _resolve_payment(billing: Billing) -> Call:
    paid = await billing.pay(await billing.order())
    decision = {"outcome": "captured", "reason": "seen"}
    return Call(f"/api/v1/payments/{paid['id']}/resolve", decision)


async def _refund(billing: Billing) -> Call:
    paid = await billing.pay(await billing.order())
    return Call("/api/v1/refunds", {"paymentId": paid["id"], "amount": 10, "reason": "broken"})


async def _resolve_refund(billing: Billing) -> Call:
    paid = await billing.pay(await billing.order())
    made = await billing.post("/api/v1/refunds", {"paymentId": paid["id"], "reason": "broken"})
    decision = {"outcome": "refunded", "reason": "seen"}
    return Call(f"/api/v1/refunds/{made.json()['id']}/resolve", decision)


async def _top_up(billing: Billing) -> Call:
    card = await billing.add_card("4242424242424242")
    money = {"amount": 1000, "currency": "KRW", "source": "CARD", "paymentMethodId": card}
    return Call("/api/v1/wallet/top-ups", {**money, "customerId": billing.customer_id})


async def _customer(billing: Billing) -> Call:
    return Call(f"/api/v1/customers/{billing.customer_id}", {})


async def _card(billing: Billing) -> Call:
    card = {"billingKey": "bk_4242424242424242", "last4": "4242"}
    path = f"/api/v1/customers/{billing.customer_id}/payment-methods"
    return Call(path, {**card, "gateway": "simulator", "isDefault": True})


async def _coupon(billing: Billing) -> Call:
    coupon = {"kind": "PERCENTAGE", "basisPoints": 1000, **_VALID}
    return Call(f"/api/v1/coupons/C-{uuid4().hex}", coupon)


async def _claim(billing: Billing) -> Call:
    path = f"/api/v1/coupons/C-{uuid4().hex}"
    limited = {"kind": "PERCENTAGE", "basisPoints": 1000, "issueLimit": 100, **_VALID}
    assert (await billing.api.put(path, json=limited)).status_code == 201
    return Call(f"{path}/claims", {"customerId": billing.customer_id})


async def _stock(billing: Billing) -> Call:
    return Call(f"/api/v1/inventory/S-{uuid4().hex}", {"onHand": 5, "withdrawn": False})


async def _key(billing: Billing) -> Call:
    body = {"name": "test", "role": "customer", "customerId": billing.customer_id}
    bounds = {"allowedNetworks": ["10.0.0.0/8"], "expiresAt": "2099-01-01T00:00:00Z"}
    return Call("/api/v1/keys", {**body, "scopes": ["billing.read"], **bounds})


async def _a_key(billing: Billing) -> str:
    made = await billing.api.post("/api/v1/keys", json={"name": "test", "role": "service"})
    return str(made.json()["details"]["id"])


async def _rotation(billing: Billing) -> Call:
    return Call(f"/api/v1/keys/{await _a_key(billing)}/rotate", {"overlapDays": 7})


async def _revocation(billing: Billing) -> Call:
    return Call(f"/api/v1/keys/{await _a_key(billing)}/revoke", {})


async def _usage(billing: Billing) -> Call:
    return Call("/api/v1/usage", _event(billing.customer_id))


async def _usage_batch(billing: Billing) -> Call:
    return Call("/api/v1/usage/batch", {"events": [_event(billing.customer_id)]})


def _event(customer_id: str) -> dict[str, Any]:
    counted = {"eventId": uuid4().hex, "resourceType": "API_CALL", "quantity": 1}
    return {**counted, "customerId": customer_id, "occurredAt": datetime.now(UTC).isoformat()}


async def _void(billing: Billing) -> Call:
    reported = await _usage(billing)
    assert (await billing.api.post(reported.path, json=reported.body)).status_code == 202
    about = {name: reported.body[name] for name in ("customerId", "eventId")}
    return Call("/api/v1/usage/void", {**about, "reason": "a typo"})


async def _let_go(billing: Billing) -> Call:
    paid = await billing.pay(await billing.order())
    return Call(f"/api/v1/payments/{paid['id']}/stock/resolve", {"reason": "sold"})


async def _discarded(billing: Billing) -> Call:
    [id_] = await many(billing.database, 1)
    return Call(f"{DLQ}/{id_}/discard", {"reason": "a test"})


async def _replayed(billing: Billing) -> Call:
    [id_] = await many(billing.database, 1, customer_id=billing.customer_id)
    return Call(f"{DLQ}/{id_}/replay", {})


def _turned(how: str, *before: JobState) -> Callable[[Billing], Awaitable[Call]]:
    """Of a job that has no letters and that nobody works on."""

    async def prepared(billing: Billing) -> Call:
        wanted, id_ = Wanted(LetterSource.WEBHOOK, customer_id=billing.customer_id), new_id()
        async with billing.database.begin(SYSTEM) as tx:
            seen = await dead_letter_job.snapshot(tx)
            await dead_letter_job.begin(tx, id_, Operation.REPLAY, wanted, SOMEBODY, None, seen)
            for state in before:
                await dead_letter_job.move(tx, id_, state)
        return Call(f"{DLQ}/bulk-jobs/{id_}/{how}", {})

    return prepared


async def _counted(billing: Billing) -> Call:
    """Nothing is done by it: of a job, test_dead_letter_job looks at the words."""
    body = {"customerId": billing.customer_id, "reason": "a test", "confirm": False}
    return Call(f"{DLQ}/bulk-discard", body)


async def _hurried(_: Billing) -> Call:
    return Call("/api/v1/gateways/simulator/hurry", {})


async def _plan(billing: Billing) -> Call:
    call = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
    prices = {"flatFee": 0, "minimum": 0, "charges": [call]}
    since = {"effectiveFrom": "2020-01-01T00:00:00Z"}
    return Call(f"/api/v1/pricing-plans/P-{uuid4().hex}", {"currency": "KRW", **since, **prices})


async def _settlement(billing: Billing) -> Call:
    """Of a month without usage: skipped."""
    plan = await _plan(billing)
    assert (await billing.api.put(plan.path, json=plan.body)).status_code == 201
    terms = {"planCode": plan.path.rpartition("/")[2]}
    customer = f"/api/v1/customers/{billing.customer_id}"
    assert (await billing.api.put(customer, json=terms)).status_code == 200
    month = f"customerId={billing.customer_id}&period=2026-05"
    return Call(f"/api/v1/settlement/run?{month}", {})


async def _settlement_run(billing: Billing) -> Call:
    return Call("/api/v1/settlement/runs", {"period": "2099-01"})


async def _replay(billing: Billing) -> Call:
    return Call("/api/v1/settlement/runs/2001-01/replay", {})


def _of_draft(action: str, body: dict[str, Any]) -> Callable[[Billing], Awaitable[Call]]:
    """A call about a draft that nobody owns: none of them is due."""

    async def good(billing: Billing) -> Call:
        invoice_id, who = new_id(), billing.customer_id
        async with billing.database.begin(SYSTEM) as tx:
            await invoice.create_draft(
                tx, invoice_id, who, new_period(), "KRW", "settlement/-", "-"
            )
        return Call(f"/api/v1/invoices/{invoice_id}/{action}", body)

    return good


async def _webhook(billing: Billing) -> Call:
    event = {"id": f"evt_{uuid4().hex}", "type": "payment.captured", "orderId": str(uuid4())}
    return Call("/webhooks/gateway/simulator", event)


_GOOD_LINE: dict[str, Any] = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}
_NOT_LINES: list[Any] = [[], {}, "SKU-1", 1, [1], [None], [[]], [{}], [_GOOD_LINE] * 101]
_NOT_IN_A_LINE: dict[str, list[Any]] = {
    "sku": [*NOT_TEXTS, "x" * 65, None, MISSING],
    "quantity": [*NOT_AMOUNTS, 1_000_001, None, MISSING],
    "unitPrice": [*NOT_AMOUNTS, None, MISSING],
    "discount": [1],
}
for _name, _values in _NOT_IN_A_LINE.items():
    for _value in _values:
        _line = {**_GOOD_LINE, _name: _value}
        _NOT_LINES.append([{name: each for name, each in _line.items() if each is not MISSING}])
_NOT_LINES.append([{"sku": "SKU-1", "quantity": 1_000_000, "unitPrice": 10**12}])
_NOT_LINES.append([{"sku": "SKU-1", "quantity": 1, "unitPrice": 10**12}] * 2)

_GOOD_CHARGE: dict[str, Any] = {"resourceType": "A", "model": "PER_UNIT", "unitPrice": "1"}
_NOT_PRICES = ["-1", -1, "", "x", "1e5", "NaN", True, [], {}, "1." + "0" * 30, "9" * 40]
_NOT_CHARGES: list[Any] = [{}, "x", 1, [1], [None], [[]], [{}], [_GOOD_CHARGE] * 2]
_NOT_CHARGES += [[{**_GOOD_CHARGE, "unitPrice": each}] for each in _NOT_PRICES]
_NOT_CHARGES += [[{**_GOOD_CHARGE, "freeUnits": each}] for each in _NOT_PRICES]
_NOT_CHARGES += [[{**_GOOD_CHARGE, "resourceType": each}] for each in NOT_TEXTS]
_NOT_CHARGES += [[{**_GOOD_CHARGE, "model": each}] for each in [*NOT_CHOICES, "GRADUATED"]]
_NOT_QUANTITIES = [-1, "-1", "", "x", "NaN", "1e400", True, [], {}, 10**15, "0.0000001"]
NOT_PERIODS = [1, True, [], {}, "", "2026", "2026-13", "2026-5", "1999-01", "2026-05\n", "x" * 99]

ROWS = {
    "POST /auth/check": Row(
        _question,
        {"action": [*NOT_CHOICES, "orders", "orders.*"], "customerId": NOT_CUSTOMERS},
        accepted=200,
        optional=frozenset({"customerId"}),
    ),
    "POST /api/v1/orders": Row(
        _order,
        {
            "currency": NOT_CURRENCIES,
            "items": _NOT_LINES,
            "customerId": NOT_CUSTOMERS,
            "couponCode": NOT_CUSTOMERS,
            "points": NOT_AMOUNTS,
        },
        optional=frozenset({"customerId", "couponCode", "points"}),
    ),
    "POST /api/v1/payments": Row(
        _payment,
        {
            "orderId": [*NOT_IDS, str(uuid4())],
            "method": [*NOT_CHOICES, "CARD", "WALLET"],
            "walletAmount": [*NOT_AMOUNTS, None, MISSING],
            "paymentMethodId": [*NOT_IDS, str(uuid4())],
        },
        optional=frozenset({"walletAmount", "paymentMethodId"}),
    ),
    "POST /api/v1/payments/{payment_id}/cancel": Row(
        _cancel, {"reason": ["x"]}, accepted=409, body_required=False
    ),
    "POST /api/v1/payments/{payment_id}/resolve": Row(
        _resolve_payment,
        {"outcome": [*NOT_CHOICES, "CAPTURED", "refunded"], "reason": NOT_REASONS},
        accepted=409,
    ),
    "POST /api/v1/refunds": Row(
        _refund,
        {"paymentId": [*NOT_IDS, str(uuid4())], "amount": NOT_AMOUNTS, "reason": NOT_REASONS},
        optional=frozenset({"amount"}),
    ),
    "POST /api/v1/refunds/{refund_id}/resolve": Row(
        _resolve_refund,
        {"outcome": [*NOT_CHOICES, "REFUNDED", "captured"], "reason": NOT_REASONS},
        accepted=409,
    ),
    "POST /api/v1/wallet/top-ups": Row(
        _top_up,
        {
            "amount": NOT_AMOUNTS,
            "currency": NOT_CURRENCIES,
            "source": [*NOT_CHOICES, "bank_transfer"],
            "paymentMethodId": [*NOT_IDS, str(uuid4())],
            "customerId": [*NOT_CUSTOMERS, f"c-{uuid4().hex}"],
        },
        optional=frozenset({"source", "paymentMethodId", "customerId"}),
    ),
    "PUT /api/v1/coupons/{code}": Row(
        _coupon,
        {
            "kind": [*NOT_CHOICES, "FIXED", "percentage"],
            "basisPoints": [*NOT_AMOUNTS, 10_001, None, MISSING],
            "amounts": [{"KRW": 1}, [], 1, "x"],
            "minimumOrder": [{"krw": 1}, {"KRW": 0}, {"XXX": 1}, {"KRW": 1.5}, [], 1],
            "validFrom": NOT_TIMES,
            "validUntil": [*NOT_TIMES, "2000-01-01T00:00:00Z"],
            "customerLimit": NOT_AMOUNTS,
            "totalLimit": NOT_AMOUNTS,
            "issueLimit": NOT_AMOUNTS,
        },
        optional=frozenset(
            {"amounts", "minimumOrder", "customerLimit", "totalLimit", "issueLimit"}
        ),
        method="PUT",
    ),
    "POST /api/v1/coupons/{code}/claims": Row(
        _claim,
        {"customerId": NOT_CUSTOMERS},
        optional=frozenset({"customerId"}),
        body_required=False,
    ),
    "POST /api/v1/keys": Row(
        _key,
        {
            "name": [1, True, [], {}, "", " ", "x" * 101],
            "role": [*NOT_CHOICES, "operator", "Customer"],
            "customerId": [*NOT_CUSTOMERS, None, MISSING, "nobody-of-that-name"],
            "scopes": [1, "billing.read", {}, [], ["x"], [1], [{}], [None]],
            "allowedNetworks": [
                *(1, "10.0.0.0/8", {}, ["x"], [{}], [1], [True], [None], [""], ["x" * 5_000]),
                *(["10.0.0.1/8"], ["10.0.0.0/33"], ["10.0.0.0/255.0.0.0.0"]),
            ],
            "expiresAt": [*NOT_TIMES, "2000-01-01T00:00:00Z"],
        },
        optional=frozenset({"customerId", "scopes", "allowedNetworks", "expiresAt"}),
    ),
    "POST /api/v1/keys/{key_id}/rotate": Row(
        _rotation,
        {"overlapDays": [-1, 91, 1.5, True, "7", [], {}, 2**63, None]},
        optional=frozenset({"overlapDays"}),
        body_required=False,
    ),
    "POST /api/v1/keys/{key_id}/revoke": Row(_revocation, {}, accepted=200, body_required=False),
    "PUT /api/v1/inventory/{sku}": Row(
        _stock,
        {
            "onHand": [-1, 1.5, True, "1", [], {}, 2**63, 10**12 + 1, None, MISSING],
            "withdrawn": [*NOT_BOOLEANS, None],
        },
        optional=frozenset({"withdrawn"}),
        method="PUT",
    ),
    "PUT /api/v1/customers/{customerId}": Row(
        _customer,
        {
            "name": ["x"],
            "timeZone": [*NOT_TEXTS, "Mars/Base", "localtime", "../etc/passwd"],
            "planCode": [*NOT_TEXTS, "no-such-plan"],
            "prepaid": NOT_BOOLEANS,
            "dueDays": [-1, 366, 1.5, True, "14", [], {}, 2**63],
        },
        accepted=200,
        body_required=False,
        method="PUT",
    ),
    "POST /api/v1/customers/{customerId}/payment-methods": Row(
        _card,
        {
            "billingKey": [*NOT_TEXTS, "x" * 201, "bk_4242 4242"],
            "last4": [*NOT_TEXTS, 4242, "424", "42424", "४२४२"],
            "gateway": [*NOT_TEXTS, "x" * 41, "Simulator", "stripe"],
            "isDefault": [*NOT_BOOLEANS, None],
        },
        optional=frozenset({"gateway", "isDefault"}),
    ),
    "POST /api/v1/usage": Row(
        _usage,
        {
            "eventId": [*NOT_TEXTS, "x" * 300],
            "customerId": [*NOT_CUSTOMERS, f"c-{uuid4().hex}"],
            "resourceType": NOT_TEXTS,
            "quantity": _NOT_QUANTITIES,
            "occurredAt": [*NOT_TIMES, "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"],
        },
        accepted=202,
    ),
    "POST /api/v1/usage/batch": Row(
        _usage_batch,
        {"events": [1, True, {}, "", [], [None] * 1001]},
        accepted=202,
        takes_lists=True,
    ),
    "POST /api/v1/usage/void": Row(
        _void,
        {"customerId": NOT_CUSTOMERS, "eventId": [*NOT_TEXTS, "x" * 129], "reason": NOT_REASONS},
        accepted=200,
    ),
    "POST /api/v1/payments/{payment_id}/stock/resolve": Row(
        _let_go, {"reason": NOT_REASONS}, accepted=200
    ),
    "POST /api/v1/admin/dlq/{messageId}/replay": Row(
        _replayed, {"reason": ["x"]}, accepted=200, body_required=False
    ),
    **{
        f"POST /api/v1/admin/dlq/bulk-jobs/{{job_id}}/{how}": Row(
            _turned(how, *before), {"reason": ["x"]}, accepted=200, body_required=False
        )
        for how, before in (("pause", ()), ("resume", (JobState.PAUSED,)), ("cancel", ()))
    },
    "POST /api/v1/admin/dlq/{messageId}/discard": Row(
        _discarded, {"reason": NOT_REASONS}, accepted=200
    ),
    **dict.fromkeys(
        (f"POST {DLQ}/bulk-discard", f"POST {DLQ}/bulk-replay"),
        Row(
            _counted,
            {
                "source": [1, "NOTHING"],
                "topic": [*NOT_TEXTS, "x" * 250],
                "consumerGroup": [*NOT_TEXTS, "x" * 250],
                "from": [1, *NOT_TIMES],
                "to": [1, *NOT_TIMES],
                "errorType": ["x" * 201, 1],
                "customerId": NOT_CUSTOMERS,
                "confirm": ["true", 1],
                "expectedCount": [-1, "5", 1.5],
                "reason": NOT_REASONS,
            },
            accepted=200,
            optional=frozenset(
                {
                    *("source", "topic", "consumerGroup", "from", "to", "errorType"),
                    *("customerId", "confirm", "expectedCount"),
                }
            ),
        ),
    ),
    "PUT /api/v1/pricing-plans/{code}": Row(
        _plan,
        {
            "currency": NOT_CURRENCIES,
            "effectiveFrom": [1, *NOT_TIMES],
            "flatFee": [-1, *NOT_AMOUNTS[2:]],
            "minimum": [-1, *NOT_AMOUNTS[2:]],
            "charges": _NOT_CHARGES,
        },
        optional=frozenset({"effectiveFrom", "flatFee", "minimum", "charges"}),
        method="PUT",
    ),
    "POST /api/v1/settlement/run": Row(
        _settlement, {"period": ["2026-05"]}, accepted=200, body_required=False
    ),
    "POST /api/v1/settlement/runs": Row(
        _settlement_run,
        {"period": NOT_PERIODS, "customerIds": [1, True, {}, "", [], [1], ["a b"], ["x"] * 5_001]},
        accepted=409,
        optional=frozenset({"customerIds"}),
    ),
    "POST /api/v1/settlement/runs/{period}/replay": Row(
        _replay, {"period": ["2026-05"]}, accepted=202, body_required=False
    ),
    "POST /api/v1/invoices/{invoice_id}/pay": Row(
        _of_draft("pay", {}),
        {"paymentMethodId": [*NOT_IDS, str(uuid4())]},
        accepted=409,
        body_required=False,
        optional=frozenset({"paymentMethodId"}),
    ),
    **{
        f"POST /api/v1/invoices/{{invoice_id}}/{action}": Row(
            _of_draft(action, {"reason": "because"}), {"reason": NOT_REASONS}, accepted=409
        )
        for action in ("paid-outside", "write-off", "cancel", "approve", "reject")
    },
    "POST /api/v1/gateways/{name}/hurry": Row(
        _hurried, {"name": ["x"]}, accepted=200, body_required=False
    ),
    "POST /webhooks/gateway/{name}": Row(
        _webhook,
        {"id": [1, True, [], {}, "", "x" * 201], "more": [2**64, -(2**63) - 1, [[10**30]]]},
        accepted=204,
    ),
}


@pytest.fixture
async def send(billing: Billing, settlements: None) -> Send:
    """Sends any bytes, with a fresh key and, to where webhooks go, a good signature."""

    async def post(
        row: Row, path: str, content: bytes, more: Mapping[str, str] = {}
    ) -> httpx2.Response:
        good = {
            "Content-Type": "application/json",
            "Idempotency-Key": uuid4().hex,
            "X-Customer-Id": billing.customer_id,
            **(_signature(content) if path.startswith("/webhooks") else {}),
        }
        headers = _raw({**good, **more})
        return await billing.api.request(row.method, path, content=content, headers=headers)

    return post


def _raw(headers: Mapping[str, str]) -> httpx2.Headers:
    """As they go over the wire, where a header may hold any byte."""
    return httpx2.Headers(
        {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}
    )


def _signature(content: bytes) -> dict[str, str]:
    now, name = datetime.now(UTC), f"msg_{uuid4().hex}"
    text = content.decode(errors="ignore")
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(name, now, text),
    }


def _hostile_documents(good: dict[str, Any], row: Row) -> dict[str, bytes]:
    """Bytes that no reader of JSON should take for the good request, or for any."""
    text = json.dumps(good)
    inner = text[1:-1]
    more = f"{inner}, " if inner else ""
    documents = {
        "a NUL in a string": f'{{{more}"x": "a\\u0000b"}}',
        "a NUL in a name": f'{{{more}"x\\u0000": 1}}',
        "a NUL byte": text + "\x00",
        "a lone high surrogate": f'{{{more}"x": "\\ud800"}}',
        "a lone low surrogate": f'{{{more}"x": "\\udc00a"}}',
        "surrogates the wrong way round": f'{{{more}"x": "\\udc00\\ud800"}}',
        "a surrogate in a name": f'{{{more}"\\ud83d": 1}}',
        "1e400": f'{{{more}"x": 1e400}}',
        "-1e400": f'{{{more}"x": -1e400}}',
        "NaN": f'{{{more}"x": NaN}}',
        "Infinity": f'{{{more}"x": -Infinity}}',
        "5,000 digits": f'{{{more}"x": {"9" * 5000}}}',
        "2^64": f'{{{more}"x": {2**64}}}',
        "a leading zero": f'{{{more}"x": 01}}',
        "a comment": f"{text} // yes",
        "a trailing comma": f"{{{more}}}" if more else "{,}",
        "single quotes": "{'x': 1}",
        "deep lists": f'{{{more}"x": {"[" * 10_000}{"]" * 10_000}}}',
        "deep objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
        "33 levels": f'{{{more}"x": {"[" * 33}{"]" * 33}}}',
        "a name twice": f'{{{more}"x": 1, "x": 1}}',
        "a name twice, escaped": f'{{{more}"x": 1, "\\u0078": 1}}',
        "a name twice, below": f'{{{more}"x": [{{"y": 1, "y": 2}}]}}',
        "two documents": text + text,
        "half a document": text[:-1],
        "only spaces": "   ",
        "a list": f"[{text}]",
        "a string": '"text"',
        "a number": "1",
        "true": "true",
    }
    if row.takes_lists:
        del documents["a list"]
    for name in good:
        documents[f"{name} twice"] = f"{{{more}{json.dumps(name)}: {json.dumps(good[name])}}}"
    hostile = {name: document.encode() for name, document in documents.items()}
    hostile["a BOM"] = b"\xef\xbb\xbf" + text.encode()
    hostile["UTF-16"] = text.encode("utf-16")
    hostile["invalid UTF-8"] = f'{{{more}"x": "'.encode() + b'\xff\xfe"}'
    hostile["an overlong NUL"] = f'{{{more}"x": "'.encode() + b'\xc0\x80"}'
    hostile["an encoded surrogate"] = f'{{{more}"x": "'.encode() + b'\xed\xa0\x80"}'
    if row.body_required:
        hostile |= {"nothing": b"", "null": b"null"}
    return hostile


@pytest.mark.parametrize("route", ROWS)
async def test_no_document_is_too_strange_to_be_refused(
    billing: Billing, send: Send, route: str
) -> None:
    row = ROWS[route]
    call = await row.good(billing)
    before = await rows_of(billing.database, billing.customer_id)

    for name, document in _hostile_documents(call.body, row).items():
        answer = await send(row, call.path, document)
        assert problem_of(answer) in ("invalid-request", "signature-invalid"), name
        assert answer.status_code in (400, 401), (name, answer.text)

    assert await rows_of(billing.database, billing.customer_id) == before


@pytest.mark.parametrize("route", ROWS)
async def test_every_field_is_what_it_must_be_or_nothing_is_done(
    billing: Billing, send: Send, route: str
) -> None:
    row = ROWS[route]
    call = await row.good(billing)
    required = [name for name in call.body if name in row.wrong and name not in row.optional]
    if route.startswith("POST /webhooks"):
        required = ["id"]
    absent: dict[str, list[Any]] = {name: [None, MISSING] for name in required}
    unknown = {} if route.startswith("POST /webhooks") else {"unknownField": [1], "__proto__": [1]}
    before = await rows_of(billing.database, billing.customer_id)

    for cases in (row.wrong, absent, unknown):
        for name, values in cases.items():
            for value in values:
                body = {**call.body, name: value}
                if value is MISSING:
                    del body[name]
                answer = await send(row, call.path, json.dumps(body).encode())
                assert 400 <= answer.status_code < 500, (name, value, answer.text)
                assert problem_of(answer) not in ("http-error", "internal-error"), (name, value)

    assert await rows_of(billing.database, billing.customer_id) == before
    accepted = await send(row, call.path, json.dumps(call.body).encode())
    assert accepted.status_code == row.accepted, "the request all of these were made from is good"


@pytest.mark.parametrize("route", ROWS)
async def test_a_body_above_the_limit_is_refused(billing: Billing, send: Send, route: str) -> None:
    """Whether its length is announced or it comes in pieces without end."""
    row = ROWS[route]
    call = await row.good(billing)
    before = await rows_of(billing.database, billing.customer_id)
    limit = LONGER.get(call.path, MAX_BYTES)
    filled = json.dumps({**call.body, "x": "x" * limit}).encode()
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 64 * 1024
            yield b" " * 64 * 1024

    refused(await send(row, call.path, filled), 413, "payload-too-large")
    key = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    pieces = await billing.api.request(row.method, call.path, content=endless(), headers=key)
    refused(pieces, 413, "payload-too-large")

    assert read <= 2 * limit
    assert await rows_of(billing.database, billing.customer_id) == before


@pytest.mark.parametrize("route", [each for each in ROWS if "/webhooks" not in each])
async def test_only_json_is_read(billing: Billing, send: Send, route: str) -> None:
    row = ROWS[route]
    call = await row.good(billing)
    before = await rows_of(billing.database, billing.customer_id)
    body = json.dumps(call.body).encode()

    for media_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/xml",
        "",
        "application/json, text/plain",
        "\xe9/json",
    ):
        answer = await send(row, call.path, body, {"Content-Type": media_type})
        refused(answer, 415, "unsupported-media-type")

    assert await rows_of(billing.database, billing.customer_id) == before


def test_every_route_that_takes_a_body_has_rows() -> None:
    app = create_app(Settings.model_validate({"billing_environment": "dev"}))
    paths = app.openapi()["paths"]
    routes = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if method in ("post", "put", "patch")
    }
    assert routes == set(ROWS)


HOSTILE_IDS = ["%00", "a%00b", "1" * 31, "%F0%9F%92%B8", "%ff%fe", "..%2f..%2fetc", "' OR 1=1 --"]
_ID = "019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e1"
HOSTILE_IDS += [f"{_ID}1%0A", f"%0A{_ID}1", f"{_ID}1%00", f"{_ID}%D9%A1"]
HOSTILE_IDS += ["%ED%A0%80", "null", "-1", "1e400", "%25", "a" * 4000, "00000000-0000-0000-0000-0"]


@pytest.mark.parametrize("hostile", HOSTILE_IDS)
async def test_hostile_ids_in_the_path_name_nothing(billing: Billing, hostile: str) -> None:
    key = {"Idempotency-Key": uuid4().hex, "X-Customer-Id": billing.customer_id}
    decision = {"outcome": "failed", "reason": "test"}
    before = await rows_of(billing.database, billing.customer_id)

    for method, path, body in (
        ("GET", "/api/v1/orders/{}", None),
        ("GET", "/api/v1/payments/{}", None),
        ("GET", "/api/v1/refunds/{}", None),
        ("GET", "/static/{}", None),
        ("POST", "/api/v1/payments/{}/cancel", None),
        ("POST", "/api/v1/payments/{}/resolve", decision),
        ("POST", "/api/v1/refunds/{}/resolve", decision),
        ("GET", "/api/v1/invoices/{}", None),
        ("GET", "/api/v1/invoices/{}/lineage", None),
        ("POST", "/api/v1/invoices/{}/pay", None),
        ("POST", "/api/v1/invoices/{}/approve", {"reason": "test"}),
        ("GET", "/api/v1/settlement/runs/{}", None),
        ("POST", "/api/v1/settlement/runs/{}/replay", None),
        ("POST", "/webhooks/gateway/{}", {"id": "evt"}),
    ):
        url = path.format(hostile)
        answer = await billing.api.request(method, url, json=body, headers=key)
        assert problem_of(answer) in ("invalid-request", "not-found"), url
        assert answer.status_code in (400, 404), url

    assert await rows_of(billing.database, billing.customer_id) == before


@pytest.mark.parametrize("hostile", ["%00", "a%20b", "x" * 65, "%F0%9F%92%B8", "' OR 1=1 --", "@"])
async def test_hostile_names_of_customers_make_none(billing: Billing, hostile: str) -> None:
    card = {"billingKey": "bk_4242424242424242", "last4": "4242"}
    path = f"/api/v1/customers/{hostile}"

    refused(await billing.api.put(path), 400, "invalid-request")
    refused(await billing.api.post(f"{path}/payment-methods", json=card), 400, "invalid-request")


@pytest.mark.parametrize(
    "query",
    [
        "wallet?customerId=%00",
        "wallet?customerId=",
        "wallet?customerId=" + "x" * 65,
        "wallet?customerId=%ff",
        "wallet/transactions?limit=-1",
        "wallet/transactions?limit=0",
        "wallet/transactions?limit=201",
        "wallet/transactions?limit=" + "9" * 31,
        "wallet/transactions?limit=" + "9" * 5000,
        "wallet/transactions?limit=1e400",
        "wallet/transactions?limit=NaN",
        "wallet/transactions?limit=%00",
        "wallet/transactions?limit=true",
        "wallet/transactions?cursor=-1",
        "wallet/transactions?cursor=0",
        f"wallet/transactions?cursor={2**63}",
        "wallet/transactions?cursor=1" + "0" * 30,
        "wallet/transactions?cursor=%00",
        "payments?orderId=",
        "payments?orderId=%00",
        "payments?orderId=1" + "0" * 30,
        "payments?orderId=019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11%00",
        "payments?orderId=019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11%0A",
        "invoices?customerId=%00",
        "invoices?page=0",
        "invoices?page=" + "9" * 31,
        "invoices?size=201",
        "invoices?size=0",
        "/api/v2/invoices?cursor=",
        "/api/v2/invoices?cursor=%00",
        "/api/v2/invoices?cursor=" + "A" * 4001,
        "/api/v2/invoices?cursor=%F0%9F%92%B8",
        "/api/v2/invoices?status=paid",
        "/api/v2/invoices?size=1e400",
        "aged-receivables?asOf=now",
        "aged-receivables?asOf=1767225600",
        "aged-receivables?asOf=2026-01-01T00:00:00",
        "aged-receivables?asOf=9999-12-31T23:59:59-14:00",
        "aged-receivables?asOf=0001-01-01T00:00:00%2B14:00",
    ],
)
async def test_hostile_queries_find_nothing(billing: Billing, query: str) -> None:
    path = query if query.startswith("/") else f"/api/v1/{query}"
    refused(await billing.api.get(path), 400, "invalid-request")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "customerId=demo",
        "period=2026-05",
        "customerId=&period=2026-05",
        "customerId=%00&period=2026-05",
        "customerId=a/b&period=2026-05",
        *(f"customerId=demo&period={each}" for each in ("", "2026", "2026-13", "1999-12", "%00")),
        "customerId=demo&period=2026-05%0A",
    ],
)
async def test_hostile_queries_settle_nothing(billing: Billing, query: str) -> None:
    answer = await billing.api.post(f"/api/v1/settlement/run?{query}")
    refused(answer, 400, "invalid-request")


@pytest.mark.parametrize(
    "customer_id", ["", " ", "a b", "x" * 65, "caf\xe9", "a\x7fb", "../x", "a,b", "%00"]
)
async def test_hostile_callers_are_nobody(billing: Billing, customer_id: str) -> None:
    call = await _order(billing)
    headers = _raw({"X-Customer-Id": customer_id, "Idempotency-Key": "k"})

    answer = await billing.api.post(call.path, json=call.body, headers=headers)

    refused(answer, 400, "invalid-request")
    wallet = await billing.api.get("/api/v1/wallet", headers=headers)
    refused(wallet, 400, "invalid-request")


@pytest.mark.parametrize(
    "traceparent", ["", "x", "00-0-0-0", "\xff" * 55, "0" * 100_000, "00-" + "g" * 32 + "-1-01"]
)
async def test_a_hostile_trace_is_dropped_and_the_order_is_made(
    billing: Billing, traceparent: str
) -> None:
    """A broken trace of the caller is no reason to refuse his money."""
    call = await _order(billing)
    caller = {"Idempotency-Key": uuid4().hex, "X-Customer-Id": billing.customer_id}
    headers = _raw({**caller, "traceparent": traceparent})

    answer = await billing.api.post(call.path, json=call.body, headers=headers)

    assert answer.status_code == 201, answer.text


async def test_what_does_not_exist_is_a_problem_document_too(billing: Billing) -> None:
    nowhere = await billing.api.get("/api/v1/nothing")
    method = await billing.api.delete("/api/v1/orders")

    refused(nowhere, 404, "not-found")
    refused(method, 405, "method-not-allowed")
    assert method.headers["Allow"] == "POST"


async def test_a_refused_webhook_is_not_stored(
    billing: Billing, send: Send, database: Database
) -> None:
    async def stored() -> int:
        async with database.engine.connect() as tx:
            query = select(func.count()).select_from(gateway_webhooks)
            return int((await tx.execute(query)).scalar_one())

    before = await stored()
    row = ROWS["POST /webhooks/gateway/{name}"]

    for content in (b"", b"null", b"[]", b"{}", b'{"id": 1}', b"not JSON", b"[" * 10_000):
        answer = await send(row, "/webhooks/gateway/simulator", content)
        assert problem_of(answer) == "invalid-request", content
        refused(await send(row, "/webhooks/gateway/nobody", content), 404, "not-found")
    for name, value in (
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", "v1"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,%%%% v2,\xe9"),
        ("webhook-signature", "v1,\xe9\xe9\xe9\xe9"),
        ("webhook-id", ""),
        ("webhook-id", "another"),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "yesterday"),
        ("webhook-timestamp", "1e400"),
        ("webhook-timestamp", "nan"),
        ("webhook-timestamp", "-1"),
        ("webhook-timestamp", str(2**64)),
    ):
        content = json.dumps({"id": f"evt_{uuid4().hex}"}).encode()
        answer = await send(row, "/webhooks/gateway/simulator", content, {name: value})
        refused(answer, 401, "signature-invalid")

    assert await stored() == before
