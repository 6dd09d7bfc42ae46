"""Customers, their plans and their cards (billing keys of a PG, never card numbers)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.customer import Customer, PaymentMethod
from store.database import Transaction
from store.key_ring import KeyRing
from store.page import Order, Page, Place, matching, page, within
from store.tables import customers, payment_methods, plan_assignments


async def put(tx: Transaction, customer_id: str) -> bool:
    """Make the customer unless there is one; True when made."""
    row = upsert(customers).values(id=customer_id).on_conflict_do_nothing()
    return (await tx.execute(row)).rowcount == 1


async def agree(
    tx: Transaction,
    customer_id: str,
    time_zone: str | None = None,
    prepaid: bool | None = None,
    due_days: int | None = None,
) -> None:
    """Change how the customer is billed; what is None stays as it is."""
    terms = {
        "time_zone": time_zone,
        "prepaid": prepaid,
        "due_days": due_days,
    }
    given = {name: value for name, value in terms.items() if value is not None}
    if given:
        await tx.execute(update(customers).where(customers.c.id == customer_id).values(**given))


async def assign_plan(
    tx: Transaction, customer_id: str, plan_code: str, effective_from: datetime
) -> bool:
    """The customer has this plan from then on, until the next assignment. False, and nothing
    changes, if it has it then already."""
    if await plan_at(tx, customer_id, effective_from) == plan_code:
        return False
    row = {"customer_id": customer_id, "plan_code": plan_code, "effective_from": effective_from}
    await tx.execute(insert(plan_assignments).values(**row))
    return True


async def plan_at(tx: Transaction, customer_id: str, moment: datetime) -> str | None:
    """The code of the plan that the customer had then; of two from the same moment on the one that
    was added last."""
    code: str | None = await tx.scalar(select_plan_at(customer_id, moment))
    return code


def select_plan_at(
    customer_id: str | ColumnElement[str], moment: datetime | ColumnElement[datetime]
) -> Select[tuple[str]]:
    """The same, to be part of another statement."""
    return (
        select(plan_assignments.c.plan_code)
        .where(
            plan_assignments.c.customer_id == customer_id,
            plan_assignments.c.effective_from <= moment,
        )
        .order_by(plan_assignments.c.effective_from.desc(), plan_assignments.c.id.desc())
        .limit(1)
    )


async def count_with_plan(tx: Transaction, plan_code: str, since: datetime) -> int:
    """How many have the plan then, or will have it some time later."""
    has, next_ = plan_assignments.alias(), plan_assignments.alias()
    replaced = exists().where(
        next_.c.customer_id == has.c.customer_id,
        tuple_(next_.c.effective_from, next_.c.id) > tuple_(has.c.effective_from, has.c.id),
        next_.c.effective_from <= func.greatest(has.c.effective_from, since),
    )
    customers_ = select(func.count(has.c.customer_id.distinct()))
    counted = await tx.execute(customers_.where(has.c.plan_code == plan_code, ~replaced))
    return counted.scalar_one()


async def find(tx: Transaction, customer_id: str) -> Customer | None:
    row = (await tx.execute(select(customers).where(customers.c.id == customer_id))).first()
    return None if row is None else of_row(row)


async def known(tx: Transaction, customer_ids: Sequence[str]) -> set[str]:
    """Those of them that there are, in one statement however many are asked about."""
    query = select(customers.c.id).where(customers.c.id.in_(customer_ids))
    return set((await tx.execute(query)).scalars())


async def is_there(tx: Transaction, customer_id: str) -> bool:
    """For our own issuer, whose role knows no more of customers."""
    query = select(customers.c.id).where(customers.c.id == customer_id)
    return (await tx.execute(query)).first() is not None


async def listed(
    tx: Transaction,
    customer_id: str | None,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[tuple[Customer, str | None]]:
    """The newest first, below a place, each with the plan that it has now."""
    columns = customers.c
    plan = select_plan_at(columns.id, func.now()).scalar_subquery().label("plan_code")
    query = select(customers, plan).where(
        *matching({columns.id: customer_id}), *within(columns.created_at, since, until)
    )
    order = Order((columns.created_at, columns.id), columns.created_xid)
    return await page(tx, query, order, place, limit, lambda row: (of_row(row), row.plan_code))


async def lock(tx: Transaction, customer_id: str) -> bool:
    """To the commit: what is on its way into the customer's wallet is added up one after the other.
    False when there is no such customer."""
    locked = select(customers.c.id).where(customers.c.id == customer_id)
    return (await tx.execute(locked.with_for_update(key_share=True))).first() is not None


async def add_payment_method(
    tx: Transaction,
    method_id: str,
    customer_id: str,
    gateway: str,
    billing_key: str,
    last4: str,
    is_default: bool,
    keys: KeyRing,
) -> PaymentMethod:
    """Add a card; as the default one it replaces the default before it. Its billing key is sealed
    here, and only `billing_key_of` opens it: whoever has a copy has a sealed one."""
    if is_default:
        # Two at once must see each other's card: the second waits here.
        owner = select(customers.c.id).where(customers.c.id == customer_id)
        await tx.execute(owner.with_for_update(key_share=True))
        await tx.execute(
            update(payment_methods)
            .where(payment_methods.c.customer_id == customer_id, payment_methods.c.is_default)
            .values(is_default=False)
        )
    row = insert(payment_methods).values(
        id=method_id,
        customer_id=customer_id,
        gateway=gateway,
        billing_key=keys.seal_text(billing_key, _belongs_to(customer_id)),
        last4=last4,
        is_default=is_default,
    )
    return payment_method_of(*(await tx.execute(row.returning(payment_methods))).one())


def billing_key_of(keys: KeyRing, customer_id: str, sealed: str) -> str:
    """In clear, for the PG. Raises `UnknownKey`, and `Tampered` where it is another customer's."""
    return keys.open_text(sealed, _belongs_to(customer_id))


def _belongs_to(customer_id: str) -> str:
    return f"payment_methods/billing_key/{customer_id}"


async def payment_methods_of(tx: Transaction, customer_id: str) -> list[PaymentMethod]:
    """Every card of the customer, oldest first."""
    query = select(payment_methods).where(payment_methods.c.customer_id == customer_id)
    rows = await tx.execute(query.order_by(payment_methods.c.created_at))
    return [payment_method_of(*row) for row in rows]


async def payment_method(
    tx: Transaction, customer_id: str, method_id: str | None
) -> PaymentMethod | None:
    """The customer's card with this id, or the default one; another's card is not found."""
    row = (await tx.execute(select_payment_method(customer_id, method_id))).first()
    return None if row is None else payment_method_of(*row)


def select_payment_method(
    customer_id: str | ColumnElement[str], method_id: str | ColumnElement[str] | None
) -> Select[Any]:
    """The same, to be part of another statement; `payment_method_of` makes a value of its row."""
    card = payment_methods.c
    wanted = card.is_default if method_id is None else card.id == method_id
    return select(payment_methods).where(card.customer_id == customer_id, wanted)


def of_row(row: Row[Any]) -> Customer:
    """Of every column of its table."""
    return Customer(row.id, row.time_zone, row.prepaid, row.due_days, row.created_at)


def payment_method_of(
    id_: object,
    customer_id: str,
    gateway: str,
    billing_key: str,
    last4: str,
    is_default: bool,
    created_at: datetime,
) -> PaymentMethod:
    """Of every column of its table, in their order."""
    return PaymentMethod(str(id_), customer_id, gateway, billing_key, last4, is_default, created_at)
