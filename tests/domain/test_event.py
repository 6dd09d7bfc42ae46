"""Events: each topic has a published schema, and what we say has it."""

from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator

from domain.event import JSON, PARTITIONS, Event, Topic
from domain.failure import FailureCode
from domain.invoice import (
    ClosedInvoice,
    InvoiceRequest,
    InvoiceStatus,
    Notice,
    created_event,
    dead_letter_event,
    notice_event,
    overdue_event,
    paid_event,
)
from domain.order import OrderLine, OrderStatus
from domain.payment import (
    FailedPayment,
    PayableType,
    PaymentStatus,
    completed_events,
    failed_events,
    step_event,
)
from domain.refund import completed_event, of_late_capture
from domain.saga import IN_ORDER, StepState
from tests.support.samples import a_payment, a_refund, new_id
from tests.support.schemas import DIRECTORY, complaints, schema


def test_every_topic_has_a_valid_schema_and_there_is_no_other() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.json")} == {topic.value for topic in Topic}
    for topic in Topic:
        Draft202012Validator.check_schema(schema(topic))
        assert set(schema(topic)["required"]) == set(schema(topic)["properties"])


def test_the_page_about_events_names_every_topic() -> None:
    page = (DIRECTORY / "README.md").read_text()

    assert all(f"| `{topic}` |" in page for topic in Topic)
    assert f"{PARTITIONS} partitions" in page


LINES = (OrderLine("SKU-1", 2, 1_000),)


def sample_events() -> list[Event]:
    """An event for each thing that can become of a payment."""
    card, wallet, top_up = a_payment(0, 10**12), a_payment(1, 0), a_payment(0, 5)
    free = a_payment(0, 0)
    for_wallet = a_payment(0, 5, payable_type=PayableType.TOP_UP)
    events = [
        event for each in (card, top_up, for_wallet) for event in completed_events(each, "p", LINES)
    ]
    events += [event for each in (wallet, free) for event in completed_events(each, None, LINES)]
    for code in FailureCode:
        for status in (PaymentStatus.FAILED, PaymentStatus.CANCELLED):
            events += failed_events(FailedPayment(card, status, code, "No."))
    events += [completed_event(a_refund(card, 3, 0)), completed_event(a_refund(wallet, 0, 1))]
    events.append(completed_event(of_late_capture(card)))
    events += [
        event
        for step in IN_ORDER
        for state in StepState
        for event in step_event(card, step, state, OrderStatus.PAYING)
    ]
    return [*events, *invoice_events()]


ATTEMPT: JSON = {
    "paymentId": "01890a5d-ac96-774b-bcce-b302099a8057",
    "at": "2026-06-01T00:00:00+00:00",
    "gateway": "simulator",
    "failure": "declined",
    "message": "The card was declined.",
    "gatewayCode": "card_declined",
    "gatewayReference": None,
}


def invoice_events() -> list[Event]:
    """An event for each thing that can become of an invoice."""
    now = datetime(2026, 6, 1, tzinfo=UTC)
    owed = InvoiceRequest(new_id(), "acme-corp", "2026-05", "KRW", 5000, now)
    paid = a_payment(0, 5000, payable_type=PayableType.INVOICE)
    about: dict[str, JSON] = {
        "invoiceId": owed.invoice_id,
        "customerId": owed.customer_id,
        "currency": owed.currency,
        "total": owed.total,
    }
    gone = ClosedInvoice(owed, InvoiceStatus.UNCOLLECTIBLE, "still not paid", "ladder")
    return [
        created_event(owed, 1),
        overdue_event(owed),
        notice_event(Notice(owed, 0, "insufficient_funds", now)),
        notice_event(Notice(owed, 4, "payment-method-missing", None)),
        dead_letter_event(gone, []),
        dead_letter_event(gone, [ATTEMPT]),
        paid_event(owed.invoice_id, owed.customer_id, {**about, "paymentId": paid.payment_id}),
        paid_event(owed.invoice_id, owed.customer_id, {**about, "paidOutside": "by bank"}),
        paid_event(owed.invoice_id, owed.customer_id, {**about, "total": 0}),
        *completed_events(paid, "p", []),
        *failed_events(FailedPayment(paid, PaymentStatus.FAILED, FailureCode.DECLINED, "No.")),
    ]


def test_what_can_become_of_payments_and_invoices_is_told_as_published() -> None:
    events = sample_events()

    made_elsewhere = {Topic.ORDER_CREATED, Topic.SETTLEMENT_COMPLETED, Topic.AUDIT_SEALED}
    assert {event.topic for event in events} == set(Topic) - made_elsewhere
    assert [
        (event, found) for event in events if (found := complaints(event.topic, event.data))
    ] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 10.5},
        {"amount": "10"},
        {"amount": -1},
        {"currency": "won"},
        {"paymentId": "1"},
        {"customerId": ""},
        {"cardNumber": "4242424242424242"},
    ],
)
def test_the_schemas_refuse_what_they_should(wrong: dict[str, object]) -> None:
    event = completed_event(a_refund(a_payment(0, 10), 10, 0))

    assert complaints(event.topic, event.data) == []
    assert complaints(event.topic, {**event.data, **wrong}) != []


def test_the_schemas_know_every_failure_code() -> None:
    for topic in (Topic.PAYMENT_FAILED, Topic.ORDER_FAILED):
        assert set(schema(topic)["properties"]["failureCode"]["enum"]) == set(FailureCode)


@pytest.mark.parametrize(
    "way",
    [
        {"total": 5000},
        {"total": 0, "paidOutside": "nothing to pay"},
        {"total": 5000, "paidOutside": "by bank", "paymentId": new_id()},
    ],
)
def test_an_invoice_is_paid_in_one_way_or_there_was_nothing_to_pay(way: dict[str, JSON]) -> None:
    about: dict[str, JSON] = {"invoiceId": new_id(), "customerId": "acme-corp", "currency": "KRW"}

    assert complaints(Topic.INVOICE_PAID, paid_event("i", "acme-corp", {**about, **way}).data)
