"""Payments. A final status is never left again: every update says from where it may come."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    func,
    or_,
    select,
    union_all,
    update,
)

from domain.coupon import CouponUseState
from domain.errors import HoldReleased
from domain.event import Origin
from domain.funding import by_kind
from domain.gateway import GatewayAttempt
from domain.identifier import UUID, has_form
from domain.inventory import ReservationState
from domain.payment import (
    FINAL,
    FailedPayment,
    Method,
    PayableType,
    Payment,
    PaymentRequest,
    PaymentStatus,
    StockLine,
    Wanted,
)
from domain.refund import RefundRequest
from domain.waits import Waits
from domain.wallet import HoldState
from domain.workflow_id import invoice_workflow_id
from store import change, gateway_attempt
from store.change import Change
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import (
    coupon_uses,
    gateway_attempts,
    invoices,
    payments,
    stock_reservations,
    wallet_holds,
    watches,
)

_OPEN = payments.c.status.not_in(FINAL)

_PERIOD = (
    select(invoices.c.period)
    .where(
        payments.c.payable_type == PayableType.INVOICE,
        invoices.c.id == payments.c.payable_id,
    )
    .correlate(payments)
    .scalar_subquery()
    .label("period")
)
_COLUMNS = (payments, _PERIOD)
"""With the month of the invoice that is paid, if it is one."""
_PAYMENTS = select(*_COLUMNS)
_WITH_ATTEMPTS = (
    select(*_COLUMNS, *gateway_attempt.COLUMNS)
    .outerjoin(gateway_attempts, gateway_attempts.c.payment_id == payments.c.id)
    .where(payments.c.id == bindparam("payment_id"))
    .order_by(*gateway_attempt.IN_ORDER)
)
"""Put together once: that costs more than the statement."""
_LISTED = Order((payments.c.created_at, payments.c.id), payments.c.created_xid)
_MONEY = payments.c.wallet_amount + payments.c.card_amount


_CREATE = """
created AS (
    INSERT INTO payments (
        id, payable_type, payable_id, customer_id, currency, method, wallet_amount, card_amount,
        points_amount, coupon_code, discount, stock, two_calls, gateway, billing_key, status,
        idempotency_key, traceparent
    )
    VALUES (
        CAST(:payment_id AS uuid), :payable_type, CAST(:payable_id AS uuid), :customer_id,
        :currency, :method, :wallet_amount, :card_amount, :points_amount, :coupon_code, :discount,
        CAST(:stock AS jsonb), :two_calls, :gateway, :billing_key, 'PENDING', :idempotency_key,
        :traceparent
    )
    RETURNING id
)"""
_COMPLETE = """
completed AS (
    UPDATE payments
    SET status = 'COMPLETED', gateway_reference = :gateway_reference,
        points_earned = :points_earned, updated_at = now()
    WHERE id = CAST(:payment_id AS uuid) AND status = 'PENDING' AND NOT given_back
    RETURNING id
)"""


async def create(tx: Transaction, payment: PaymentRequest, method: Method) -> None:
    """Insert a payment in state PENDING, with the attempts of what will be asked of its PG; one
    live payment per payable, else `IntegrityError`."""
    await change.make(tx, *creating(payment, method))


def creating(payment: PaymentRequest, method: Method) -> tuple[Change, ...]:
    """The same as parts of a statement."""
    values = {
        "payment_id": payment.payment_id,
        "payable_type": payment.payable_type,
        "payable_id": payment.payable_id,
        "customer_id": payment.customer_id,
        "currency": payment.currency,
        "method": method,
        **{f"{kind}_amount": amount for kind, amount in by_kind(payment.parts).items()},
        "coupon_code": payment.coupon_code,
        "discount": payment.discount,
        "stock": orjson.dumps([[line.sku, line.quantity] for line in payment.stock]).decode(),
        "two_calls": payment.two_calls,
        "gateway": payment.gateway,
        "billing_key": payment.billing_key,
        "idempotency_key": payment.origin.idempotency_key,
        "traceparent": payment.origin.traceparent,
    }
    created = Change("created", _CREATE, 1, values)
    asked = [payment.gateway_request(operation) for operation in payment.operations]
    return (created, gateway_attempt.opening(asked)) if asked else (created,)


async def find(tx: Transaction, payment_id: str) -> Payment | None:
    row = (await tx.execute(_PAYMENTS.where(payments.c.id == payment_id))).first()
    return None if row is None else _payment(row)


async def find_with_attempts(
    tx: Transaction, payment_id: str
) -> tuple[Payment, list[GatewayAttempt]] | None:
    """The payment and what was asked of its PG, by one look."""
    rows = (await tx.execute(_WITH_ATTEMPTS, {"payment_id": payment_id})).all()
    if not rows:
        return None
    asked = [gateway_attempt.attempt(row) for row in rows if row.attempt_operation is not None]
    return _payment(rows[0]), asked


async def lock(tx: Transaction, payment_id: str) -> Payment:
    """The payment, locked to the commit."""
    locked = _PAYMENTS.where(payments.c.id == payment_id).with_for_update()
    return _payment((await tx.execute(locked)).one())


async def find_locked(tx: Transaction, payment_id: str) -> Payment | None:
    """The payment, if there is one, locked to the commit."""
    row = (await tx.execute(_PAYMENTS.where(payments.c.id == payment_id).with_for_update())).first()
    return None if row is None else _payment(row)


async def of_payable(tx: Transaction, *payable_ids: str) -> list[Payment]:
    """Every payment of these orders, invoices or top-ups, oldest first."""
    query = _PAYMENTS.where(payments.c.payable_id.in_(payable_ids))
    rows = await tx.execute(query.order_by(payments.c.created_at, payments.c.id))
    return [_payment(row) for row in rows]


async def listed(tx: Transaction, wanted: Wanted, place: Place | None, limit: int) -> Page[Payment]:
    """The newest first, below a place."""
    return await page(tx, _PAYMENTS.where(*_found(wanted)), _LISTED, place, limit, _payment)


def _found(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    columns = payments.c
    yield from matching(
        {
            columns.customer_id: wanted.customer_id,
            columns.status: wanted.status,
            columns.payable_id: wanted.payable_id,
            columns.gateway: wanted.gateway,
            columns.currency: wanted.currency,
        }
    )
    if wanted.order_id is not None:
        yield columns.payable_type == PayableType.ORDER
        yield columns.payable_id == wanted.order_id
    if wanted.open:
        yield _OPEN
    if wanted.older_than is not None:
        yield columns.created_at < func.now() - wanted.older_than
    if wanted.min_amount is not None:
        yield wanted.min_amount <= _MONEY
    if wanted.max_amount is not None:
        yield wanted.max_amount >= _MONEY
    if wanted.gateway_reference is not None:
        yield columns.id.in_(_asked_as(wanted.gateway_reference))
    yield from within(columns.created_at, wanted.since, wanted.until)


def _asked_as(reference: str) -> Select[tuple[str]]:
    """The payments of what a PG knows by this: its own number, or the one that we gave it, as a
    whole or the id in front of it."""
    known = [gateway_attempts.c.gateway_reference == reference]
    if has_form(ours := reference[:36], UUID):
        named = gateway_attempts.c.idempotency_key.startswith(reference, autoescape=True)
        known.append((gateway_attempts.c.reference_id == ours) & named)
    return select(gateway_attempts.c.payment_id).where(or_(*known))


async def mark(
    tx: Transaction, payment_id: str, status: PaymentStatus, review_reason: str | None = None
) -> bool:
    """Set a status that is not final; False when the payment has ended already."""
    marked = await tx.execute(
        update(payments)
        .where(payments.c.id == payment_id, _OPEN)
        .values(status=status, review_reason=review_reason, updated_at=func.now())
    )
    return marked.rowcount == 1


async def request_cancel(tx: Transaction, payment_id: str) -> bool:
    """Note that somebody wants it cancelled; False when the payment has ended already."""
    noted = await tx.execute(
        update(payments)
        .where(payments.c.id == payment_id, _OPEN)
        .values(cancel_requested_at=func.coalesce(payments.c.cancel_requested_at, func.now()))
    )
    return noted.rowcount == 1


async def complete(
    tx: Transaction, payment_id: str, gateway_reference: str | None, points_earned: int
) -> bool:
    """→ COMPLETED; False when it is so already. Raises `HoldReleased` when it ended otherwise."""
    values = {
        "gateway_reference": gateway_reference,
        "points_earned": points_earned,
        "review_reason": None,
    }
    return await _end(tx, payment_id, PaymentStatus.COMPLETED, values, ~payments.c.given_back)


def completing(payment_id: str, gateway_reference: str | None, points_earned: int) -> Change:
    """The same as a part of a statement, of a payment that nobody was ever asked about."""
    values = {
        "payment_id": payment_id,
        "gateway_reference": gateway_reference,
        "points_earned": points_earned,
    }
    return Change("completed", _COMPLETE, 1, values)


async def give_back(tx: Transaction, payment_id: str) -> None:
    """Note that its capture is owed back: it cannot complete any more."""
    given_back = update(payments).where(payments.c.id == payment_id)
    await tx.execute(given_back.values(given_back=True))


async def fail(tx: Transaction, failed: FailedPayment) -> bool:
    """→ FAILED or CANCELLED; False when it is so already. Raises `HoldReleased` when it ended
    otherwise."""
    values = {
        "failure_code": failed.code,
        "failure_message": failed.message,
        "gateway_code": failed.gateway_code,
        "review_reason": None,
    }
    return await _end(tx, failed.payment.payment_id, failed.status, values)


async def _end(
    tx: Transaction,
    payment_id: str,
    status: PaymentStatus,
    values: Mapping[str, str | int | None],
    *conditions: ColumnElement[bool],
) -> bool:
    ended = await tx.execute(
        update(payments)
        .where(payments.c.id == payment_id, _OPEN, *conditions)
        .values(status=status, updated_at=func.now(), **values)
    )
    if ended.rowcount == 1:
        return True
    payment = await find(tx, payment_id)
    if payment is None:
        raise RuntimeError(f"payment {payment_id} has no row")
    if payment.status not in FINAL:
        raise HoldReleased("An earlier run of this payment gave its capture back.")
    if payment.status is not status:
        raise HoldReleased(
            f"An earlier run of this payment has ended: {payment.status}, not {status}."
        )
    return False


async def reserve_refund(tx: Transaction, refund: RefundRequest) -> None:
    """Set a part of the capture aside for a refund; constraints refuse more than there is."""
    await _change_refunded(tx, refund, +1)


async def release_refund(tx: Transaction, refund: RefundRequest) -> None:
    """The refund failed: its part can be refunded again."""
    await _change_refunded(tx, refund, -1)


async def _change_refunded(tx: Transaction, refund: RefundRequest, sign: int) -> None:
    changed = [(payments.c[f"{part.kind}_refunded"], part) for part in refund.parts]
    await tx.execute(
        update(payments)
        .where(payments.c.id == refund.payment_id)
        .values({column: column + sign * part.amount for column, part in changed})
    )


async def add_refunded(tx: Transaction, refund: RefundRequest) -> Payment:
    """A refund completed. Returns the payment with `money_refunded`, what went back by completed
    refunds in money, this one included; its row stays locked to the commit."""
    added = await tx.execute(
        update(payments)
        .where(payments.c.id == refund.payment_id)
        .values(
            refunded_amount=payments.c.refunded_amount + refund.worth,
            money_refunded=payments.c.money_refunded + refund.money,
            updated_at=func.now(),
        )
        .returning(*_COLUMNS)
    )
    return _payment(added.one())


async def add_taken_back(tx: Transaction, payment_id: str, points: int) -> None:
    """Earned points went back with a refund."""
    await tx.execute(
        update(payments)
        .where(payments.c.id == payment_id)
        .values(points_taken_back=payments.c.points_taken_back + points)
    )


async def open_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[Payment]:
    """Payments without a final status, in id order after `after_id`: what the sweeper looks at."""
    query = _PAYMENTS.where(_OPEN, payments.c.created_at < created_before)
    if after_id is not None:
        query = query.where(payments.c.id > after_id)
    return [_payment(row) for row in await tx.execute(query.order_by(payments.c.id).limit(limit))]


async def watched(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[Payment]:
    """Payments that have ended and are watched, in id order after `after_id`."""
    query = _PAYMENTS.join_from(payments, watches, watches.c.payment_id == payments.c.id).where(
        watches.c.ended_at.is_(None), watches.c.began_at < created_before
    )
    if after_id is not None:
        query = query.where(payments.c.id > after_id)
    return [_payment(row) for row in await tx.execute(query.order_by(payments.c.id).limit(limit))]


async def ended_holding(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[Payment]:
    """Payments that have ended and still hold money, points, stock or a coupon: there must be none.
    In id order after `after_id`."""
    holding = union_all(
        select(wallet_holds.c.payment_id).where(wallet_holds.c.state == HoldState.HELD),
        select(stock_reservations.c.payment_id).where(
            stock_reservations.c.state == ReservationState.RESERVED
        ),
        select(coupon_uses.c.payment_id).where(coupon_uses.c.state == CouponUseState.IN_USE),
    ).subquery()
    # An array, so that PostgreSQL looks at what holds first, whatever it thinks of the numbers.
    held = func.array(select(holding.c.payment_id).scalar_subquery())
    query = _PAYMENTS.where(
        payments.c.id == func.any(held),
        ~_OPEN,
        payments.c.updated_at < created_before,
    )
    if after_id is not None:
        query = query.where(payments.c.id > after_id)
    return [_payment(row) for row in await tx.execute(query.order_by(payments.c.id).limit(limit))]


async def count_open_by_status(tx: Transaction) -> Mapping[PaymentStatus, int]:
    """Those that have not ended: an index holds them, so that it costs the same however many
    have."""
    query = select(payments.c.status, func.count()).where(_OPEN).group_by(payments.c.status)
    return {PaymentStatus(status): count for status, count in await tx.execute(query)}


async def count_by_status(tx: Transaction) -> Mapping[PaymentStatus, int]:
    """All of them. Reads the whole table: not to be asked again and again."""
    query = select(payments.c.status, func.count()).group_by(payments.c.status)
    return {PaymentStatus(status): count for status, count in await tx.execute(query)}


async def oldest_unknown_age_seconds(tx: Transaction) -> float:
    """Age of the oldest payment whose outcome is being found out; 0 without one. How long a person
    is asked, `store.review.oldest_waiting` tells."""
    oldest = func.min(payments.c.created_at)
    query = select(func.extract("epoch", func.now() - oldest))
    query = query.where(payments.c.status == PaymentStatus.UNKNOWN)
    return float((await tx.execute(query)).scalar() or 0)


def request(payment: Payment, waits: Waits) -> PaymentRequest:
    """The input of the saga as the row remembers it: what the sweeper starts again."""
    is_invoice = payment.payable_type is PayableType.INVOICE
    return PaymentRequest(
        payment_id=payment.id,
        payable_type=payment.payable_type,
        payable_id=payment.payable_id,
        customer_id=payment.customer_id,
        currency=payment.currency,
        wallet_amount=payment.wallet_amount,
        card_amount=payment.card_amount,
        points_amount=payment.points_amount,
        coupon_code=payment.coupon_code,
        discount=payment.discount,
        stock=payment.stock,
        gateway=payment.gateway,
        billing_key=payment.billing_key,
        two_calls=payment.two_calls,
        owner=invoice_workflow_id(payment.payable_id) if is_invoice else "",
        period=payment.period or "",
        new=payment.status is PaymentStatus.PENDING,
        cancel_requested=payment.cancel_requested_at is not None,
        origin=Origin(payment.idempotency_key, payment.traceparent),
        waits=waits,
    )


def _payment(row: Row[Any]) -> Payment:
    return Payment(
        id=row.id,
        payable_type=PayableType(row.payable_type),
        payable_id=row.payable_id,
        customer_id=row.customer_id,
        currency=row.currency,
        period=row.period,
        method=Method(row.method),
        wallet_amount=row.wallet_amount,
        card_amount=row.card_amount,
        points_amount=row.points_amount,
        coupon_code=row.coupon_code,
        discount=row.discount,
        stock=tuple(StockLine(sku, quantity) for sku, quantity in row.stock),
        gateway=row.gateway,
        billing_key=row.billing_key,
        two_calls=row.two_calls,
        status=PaymentStatus(row.status),
        failure_code=row.failure_code,
        failure_message=row.failure_message,
        gateway_code=row.gateway_code,
        gateway_reference=row.gateway_reference,
        review_reason=row.review_reason,
        card_refunded=row.card_refunded,
        wallet_refunded=row.wallet_refunded,
        points_refunded=row.points_refunded,
        refunded_amount=row.refunded_amount,
        money_refunded=row.money_refunded,
        points_earned=row.points_earned,
        points_taken_back=row.points_taken_back,
        cancel_requested_at=row.cancel_requested_at,
        idempotency_key=row.idempotency_key,
        traceparent=row.traceparent,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
