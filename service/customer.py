"""Customers and their cards: set up by operators."""

from dataclasses import dataclass
from datetime import datetime

from domain.access import Access
from domain.audit import Action, Entry, Noun, actor, changed
from domain.customer import Agreement, Customer, PaymentMethod
from domain.errors import InvalidRequest, NotFound
from domain.event import JSON
from domain.period import check_zone
from domain.proposal import Agreed, Proposal, together
from service import proposal
from service.audit import looked_through, viewed
from service.desk import Desk
from store import audit, clock, customer, pricing
from store.database import Transaction
from store.identifier import new_id
from store.page import Page, Place


@dataclass(frozen=True)
class CustomerRecord:
    """A customer and the plan that it has now."""

    customer: Customer
    plan_code: str | None


@dataclass(frozen=True)
class NewCard:
    """A card, as the PG's billing key."""

    gateway: str
    billing_key: str
    last4: str
    is_default: bool


async def put(
    desk: Desk, access: Access, customer_id: str, terms: Agreement
) -> tuple[CustomerRecord, bool]:
    """Make a customer, or change how it is billed; True when made. Where it gets another plan than
    it had the whole call needs a second person: raises `SecondPersonNeeded`."""
    async with desk.database.begin(access.scope) as tx:
        done = await _put(tx, desk, access, customer_id, terms)
    return proposal.carried_out(done)


async def _put(
    tx: Transaction, desk: Desk, access: Access, customer_id: str, terms: Agreement
) -> tuple[CustomerRecord, bool] | Proposal:
    await _check(tx, terms)
    known = await customer.find(tx, customer_id)
    made = await customer.put(tx, customer_id)
    # Who gives it a plan at the same time is waited for: that one may be the first.
    await customer.lock(tx, customer_id)
    since = terms.plan_from or await clock.now(tx)
    had = await customer.plan_at(tx, customer_id, since)
    wanted = desk.terms.second.plan_assignment(customer_id, had, terms)
    agreed = await proposal.decided(tx, desk, access, wanted)
    if isinstance(agreed, Proposal):
        return agreed
    await customer.agree(tx, customer_id, terms.time_zone, terms.prepaid, terms.due_days)
    stands = await customer.find(tx, customer_id)
    await _note(tx, access, customer_id, known, stands)
    if terms.plan_code is not None:
        await _assign(tx, access, customer_id, terms.plan_code, since, agreed)
    return await _found(tx, customer_id), made


async def _note(
    tx: Transaction, access: Access, id_: str, known: Customer | None, agreed: Customer | None
) -> None:
    before, after = changed(_terms(known), _terms(agreed))
    if known is not None and not after:
        return
    what = Action.CUSTOMER_CREATED if known is None else Action.CUSTOMER_CHANGED
    entry = Entry(actor(access), what, Noun.CUSTOMER, id_, id_, before=before, after=after)
    await audit.append(tx, entry)


def _terms(row: Customer | None) -> dict[str, JSON]:
    if row is None:
        return {}
    return {"timeZone": row.time_zone, "prepaid": row.prepaid, "dueDays": row.due_days}


async def _assign(
    tx: Transaction, access: Access, id_: str, plan_code: str, since: datetime, agreed: Agreed
) -> None:
    had = await customer.plan_at(tx, id_, since)
    if not await customer.assign_plan(tx, id_, plan_code, since):
        return
    before: dict[str, JSON] = {"planCode": had}
    after: dict[str, JSON] = {"planCode": plan_code, "planFrom": since.isoformat()}
    after |= together(agreed.persons)
    who, what = actor(access), Action.PLAN_ASSIGNED
    entry = Entry(who, what, Noun.CUSTOMER, id_, id_, before=before, after=after)
    await audit.append(tx, entry)


async def get(desk: Desk, access: Access, customer_id: str) -> CustomerRecord:
    """A customer and how it is billed now; raises `NotFound`."""
    access.require(customer_id)
    async with desk.database.read(access.scope) as tx:
        seen = await _found(tx, customer_id)
    await viewed(desk, access, Noun.CUSTOMER, customer_id, customer_id)
    return seen


async def listed(
    desk: Desk,
    access: Access,
    customer_id: str | None,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[CustomerRecord]:
    """Those below a place, newest first, and how they are billed now."""
    async with desk.database.read(access.scope) as tx:
        found = await customer.listed(tx, customer_id, since, until, place, limit)
    await looked_through(desk, access, Noun.CUSTOMER, customer_id)
    return Page([CustomerRecord(*each) for each in found.items], found.following)


async def add_card(desk: Desk, access: Access, customer_id: str, card: NewCard) -> PaymentMethod:
    """Add a card; as the default one it replaces the default before it."""
    if card.gateway not in desk.gateways:
        raise InvalidRequest(f"There is no gateway {card.gateway!r}.")
    async with desk.database.begin(access.scope) as tx:
        if await customer.find(tx, customer_id) is None:
            raise NotFound(f"There is no customer {customer_id}.")
        added = await customer.add_payment_method(
            tx,
            new_id(),
            customer_id,
            card.gateway,
            card.billing_key,
            card.last4,
            card.is_default,
            desk.keys,
        )
        await audit.append(tx, _card_added(access, added))
        return added


def _card_added(access: Access, card: PaymentMethod) -> Entry:
    """Without anything of the card."""
    after: dict[str, JSON] = {"gateway": card.gateway, "isDefault": card.is_default}
    what, noun = Action.PAYMENT_METHOD_ADDED, Noun.PAYMENT_METHOD
    return Entry(actor(access), what, noun, card.id, card.customer_id, after=after)


async def cards(desk: Desk, access: Access, customer_id: str) -> list[PaymentMethod]:
    """The customer's cards, oldest first."""
    access.require(customer_id)
    async with desk.database.read(access.scope) as tx:
        await _found(tx, customer_id)
        seen = await customer.payment_methods_of(tx, customer_id)
    await viewed(desk, access, Noun.CUSTOMER, customer_id, customer_id)
    return seen


async def _found(tx: Transaction, customer_id: str) -> CustomerRecord:
    row = await customer.find(tx, customer_id)
    if row is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return CustomerRecord(row, await customer.plan_at(tx, customer_id, await clock.now(tx)))


async def _check(tx: Transaction, terms: Agreement) -> None:
    if terms.time_zone is not None:
        check_zone(terms.time_zone)
    code = terms.plan_code
    if terms.plan_from is not None and code is None:
        raise InvalidRequest("planFrom: names the beginning of a plan, so planCode is needed.")
    if code is not None and not await pricing.offered(tx, code, await clock.now(tx)):
        raise InvalidRequest(f"There is no pricing plan {code}, or it was withdrawn.")
