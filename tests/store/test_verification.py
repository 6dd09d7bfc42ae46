"""Every invariant can fail: whatever is planted is reported, and by its own invariant only."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx2
import pytest
from sqlalchemy import text
from temporalio.client import Client

from dev import postgres
from domain.verification import Finding, Invariant
from runtime.settings import Settings
from store.database import Database, Transaction
from tests.support.billing import Billing
from tests.support.cashier import TWO_CALLS, Cashier
from tests.support.clean_slate import assert_clean_slate, findings
from tests.support.databases import connected
from tests.support.dunning import SOFT_DECLINE
from tests.support.faults import FaultInjector
from tests.support.months import ASKS, BIG, Months

PLANTED: Mapping[Invariant, tuple[str, ...]] = {
    Invariant.LEDGER_BALANCES: (
        """UPDATE postings SET amount = amount - 1 WHERE account = 'bank:clearing'
        AND transaction_id IN (
            SELECT transaction_id FROM postings
            WHERE account = format('wallet:%s:available', CAST(:customer AS text))
        )""",
    ),
    Invariant.WALLETS: (
        "UPDATE wallets SET available = available + 1 WHERE customer_id = :customer",
    ),
    Invariant.HOLDS: (
        """INSERT INTO wallet_holds (payment_id, customer_id, currency, amount, state)
        VALUES (gen_random_uuid(), :customer, 'KRW', 1, 'HELD')""",
    ),
    Invariant.NOTHING_HELD: ("UPDATE coupon_uses SET state = 'IN_USE' WHERE payment_id = :paid",),
    Invariant.HOLDS_END: ("UPDATE wallet_holds SET state = 'RELEASED' WHERE payment_id = :paid",),
    Invariant.COUPON_COUNTS: (
        """UPDATE coupons SET used = used + 1
        WHERE code = (SELECT code FROM coupon_uses WHERE payment_id = :paid)""",
    ),
    Invariant.COUPON_USES_END: (
        "UPDATE coupon_uses SET state = 'RESTORED' WHERE payment_id = :paid",
        """UPDATE coupons SET used = used - 1
        WHERE code = (SELECT code FROM coupon_uses WHERE payment_id = :paid)""",
    ),
    Invariant.COUPONS_APPLIED: ("UPDATE orders SET coupon_applied_by = NULL WHERE id = :order",),
    Invariant.STOCK: (
        """UPDATE inventory SET reserved = reserved + 1
        WHERE sku = (SELECT sku FROM stock_reservations WHERE payment_id = :paid)""",
    ),
    Invariant.RESERVATIONS_END: (
        "UPDATE stock_reservations SET state = 'RESTORED' WHERE payment_id = :paid",
    ),
    Invariant.POINTS: ("UPDATE payments SET points_earned = points_earned + 1 WHERE id = :paid",),
    Invariant.AUTHORIZATIONS: (
        """UPDATE gateway_attempts SET outcome = 'AUTHORIZED'
        WHERE reference_id = :failed AND operation = 'authorize'""",
    ),
    Invariant.ATTEMPTS: ("UPDATE gateway_attempts SET outcome = NULL WHERE reference_id = :paid",),
    Invariant.PAYMENTS_BOOKED: (
        "UPDATE ledger_transactions SET kind = 'x' WHERE payment_id = :paid AND kind = 'capture'",
    ),
    Invariant.REFUNDS_BOOKED: (
        "UPDATE ledger_transactions SET key = key || 'x' WHERE key = 'refund/' || :refund",
    ),
    Invariant.LATE_CAPTURES: (
        """INSERT INTO ledger_transactions (key, kind, payment_id)
        VALUES ('late/' || :failed, 'late-capture', CAST(:failed AS uuid))""",
        """INSERT INTO postings (transaction_id, account, unit, amount)
        SELECT id, account, 'KRW', amount FROM ledger_transactions
        CROSS JOIN (VALUES ('gateway:simulator', -7), ('suspense:late-captures', 7))
            AS line (account, amount)
        WHERE key = 'late/' || :failed""",
    ),
    Invariant.ORDERS: ("UPDATE orders SET status = 'PAYING' WHERE id = :order",),
    Invariant.REFUNDS: ("UPDATE payments SET money_refunded = 0 WHERE id = :paid",),
    Invariant.STEPS: (
        """UPDATE saga_steps SET state = 'UNDONE'
        WHERE saga_id = :charge AND step = 'gateway.charge'""",
    ),
    Invariant.STEPS_TOLD: (
        """UPDATE outbox SET data = jsonb_set(data, '{outcome}', '"REFUSED"')
        WHERE aggregate_id = :order AND data->>'step' = 'wallet.hold'""",
    ),
    Invariant.ORDERS_TOLD: (
        """UPDATE outbox SET data = jsonb_set(data, '{orderStatus}', '"FAILED"')
        WHERE aggregate_id = :order AND data->>'step' = 'payment.complete'""",
    ),
    Invariant.ENDS_TOLD: (
        """UPDATE outbox SET topic = 'billing.payment.failed'
        WHERE aggregate_id = :paid AND topic = 'billing.payment.completed'""",
    ),
    Invariant.VERSIONS: (
        "UPDATE aggregate_versions SET version = version + 1 WHERE aggregate_id = :paid",
    ),
    Invariant.REVIEWS: (
        """INSERT INTO reviews (reference_id, payment_id, operation, question, reason)
        VALUES (:paid, :paid, 'charge', 'capture', 'planted')""",
    ),
    Invariant.INVOICE_LINES: ("UPDATE invoices SET total = total + 1 WHERE id = :draft",),
    Invariant.INVOICE_PRICES: (
        "UPDATE invoice_lines SET quantity = quantity + 1 WHERE invoice_id = :invoice",
    ),
    Invariant.INVOICE_USAGE: (
        "UPDATE aggregated_usage SET events = events + 1 WHERE invoice_id = :invoice",
    ),
    Invariant.INVOICE_NUMBERS: (
        "UPDATE invoices SET number = number + 1000000 WHERE id = :invoice",
    ),
    Invariant.INVOICES_PAID: (
        """INSERT INTO ledger_transactions (key, kind)
        VALUES ('invoice/' || :invoice || '/paid-outside', 'paid-outside')""",
        """INSERT INTO postings (transaction_id, account, unit, amount)
        SELECT id, account, 'KRW', amount FROM ledger_transactions
        CROSS JOIN (VALUES ('bank:clearing', -7), ('sales', 7)) AS line (account, amount)
        WHERE key = 'invoice/' || :invoice || '/paid-outside'""",
    ),
    Invariant.USAGE_COUNTED: ("DELETE FROM usage_identities WHERE customer_id = :customer",),
    Invariant.USAGE_BILLED: (
        """INSERT INTO usage_identities (customer_id, event_id, payload_hash)
        VALUES (:customer, 'forgotten', '')""",
        """INSERT INTO usage_events (
            customer_id, event_id, resource_type, quantity, occurred_at, received_at
        ) VALUES (:customer, 'forgotten', 'API_CALL', 1, '2026-05-10', '2026-05-10')""",
    ),
}


@dataclass(frozen=True)
class World:
    """One customer with something of everything, all of it right."""

    customer_id: str
    names: Mapping[str, str]
    """What the planted statements are about."""


@pytest.fixture(scope="module")
async def world(
    api: httpx2.AsyncClient,
    simulator: httpx2.AsyncClient,
    database: Database,
    temporal_client: Client,
    faults: FaultInjector,
    settlements: None,
) -> World:
    """An order with everything, partly refunded; one that failed; an invoice that is paid, and a
    draft that waits for a person."""
    billing = await Billing.for_new_customer(api, simulator, database)
    cashier = Cashier(billing, temporal_client, faults)
    await billing.top_up(5000)
    paid = await cashier.prepare(1000, 2000, goods=await cashier.goods())
    await cashier.pay(paid)
    refund = await cashier.prepare_refund(paid, 500)
    await cashier.refund(refund)
    failed = await cashier.prepare(0, 1000, number=SOFT_DECLINE, gateway=TWO_CALLS)
    await cashier.pay(failed)
    months = Months(billing, temporal_client, faults)
    await months.price()
    await months.use(1000)
    settled = await months.settle()
    assert settled.invoice_id is not None
    await months.paid(settled.invoice_id)
    await months.use(BIG + 1, month=6)
    await months.start("2026-06", approval=ASKS)
    draft = await months.waiting("2026-06")
    await assert_clean_slate(billing)
    [charge] = await payments_of(database, settled.invoice_id)
    return World(
        billing.customer_id,
        {
            "customer": billing.customer_id,
            "paid": paid.payment_id,
            "order": paid.payable_id,
            "refund": refund.refund_id,
            "failed": failed.payment_id,
            "invoice": settled.invoice_id,
            "charge": charge,
            "draft": draft.id,
        },
    )


async def payments_of(database: Database, payable_id: str) -> list[str]:
    async with database.engine.connect() as tx:
        query = text("SELECT CAST(id AS text) FROM payments WHERE payable_id = CAST(:id AS uuid)")
        return list((await tx.execute(query, {"id": payable_id})).scalars())


@pytest.fixture(scope="module")
async def superuser(settings: Settings) -> AsyncIterator[Database]:
    """Who may switch the triggers off that refuse all this."""
    url = settings.database_owner_url.replace(postgres.OWNER, postgres.SUPERUSER)
    async with connected(url) as pool:
        yield pool


async def plant(tx: Transaction, statement: str, names: Mapping[str, str]) -> None:
    """Run it behind the back of triggers and foreign keys; it must change something."""
    table = re.search(r"(?:UPDATE|INTO|FROM) (\w+)", statement)
    assert table is not None
    await tx.execute(text("SET LOCAL session_replication_role = replica"))
    await tx.execute(text(f"ALTER TABLE {table[1]} DISABLE TRIGGER USER"))
    used = set(re.findall(r":(\w+)", statement))
    values = {name: value for name, value in names.items() if name in used}
    assert (await tx.execute(text(statement), values)).rowcount > 0


async def test_a_customer_with_everything_violates_nothing(
    world: World, database: Database
) -> None:
    async with database.engine.connect() as tx:
        found = await findings(tx, world.customer_id)

    assert [finding for finding in found if finding.violations] == []
    looked_at = {finding.invariant: finding.looked_at for finding in found}
    # Nothing was captured late, and nobody is asked.
    nothing = {name for name, number in looked_at.items() if number == 0}
    assert nothing == {Invariant.LATE_CAPTURES, Invariant.REVIEWS}


def test_a_violation_of_each_is_planted() -> None:
    elsewhere = {
        *(Invariant.OWNERS, Invariant.GATEWAY),
        *(Invariant.AUDIT_SEALED, Invariant.AUDIT_CHAIN),
    }
    assert set(PLANTED) == set(Invariant) - elsewhere


@pytest.mark.parametrize("invariant", PLANTED)
async def test_what_is_planted_is_reported_by_its_invariant_alone(
    world: World, superuser: Database, invariant: Invariant
) -> None:
    """Planted, seen and rolled back by one transaction: nobody else ever sees it."""
    async with superuser.engine.connect() as tx:
        for statement in PLANTED[invariant]:
            await plant(tx, statement, world.names)
        found = await findings(tx, world.customer_id)
        await tx.rollback()

    violated: dict[Invariant, Finding] = {
        finding.invariant: finding for finding in found if finding.violations
    }
    assert set(violated) == {invariant}
    finding = violated[invariant]
    assert 0 < finding.violations <= finding.looked_at
    assert all(each.id and each.wrong.endswith((".", "…")) for each in finding.first)
