"""Every table. Migrations create them; `make check` fails when the two differ.

Triggers, functions and grants are not expressible here: see migrations/versions.
"""

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_FINAL = "('COMPLETED', 'FAILED', 'CANCELLED')"


def _id(name: str = "id") -> Column[str]:
    return Column(name, Uuid(as_uuid=False), primary_key=True)


def _reference(name: str, target: str | None = None) -> Column[str]:
    keys = [ForeignKey(target)] if target else []
    return Column(name, Uuid(as_uuid=False), *keys, nullable=False)


def _text(name: str, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _amount(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _running_amount(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _reference_unless_none(name: str) -> Column[str]:
    return Column(name, Uuid(as_uuid=False))


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _created_xid() -> Column[int]:
    """The database transaction that inserted the row: who reads a list page by page tells by it
    what has committed late (`store.seen`)."""
    xid = text("(pg_current_xact_id()::text)::bigint")
    return Column("created_xid", BigInteger, nullable=False, server_default=xid)


def _listed_by(table: str, *found_by: str) -> Iterator[Index]:
    """What the list of a table is read by, the newest first: as a whole, and by each of these."""
    yield Index(f"ix_{table}_created_at_id", "created_at", "id")
    for name in found_by:
        yield Index(f"ix_{table}_{name}_created_at_id", name, "created_at", "id")
    yield Index(f"ix_{table}_created_xid", "created_xid", postgresql_using="brin")


def _time_unless_open(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("time_zone", Text, nullable=False, server_default="UTC"),
    Column("prepaid", Boolean, nullable=False, server_default=text("false")),
    Column("due_days", Integer, nullable=False, server_default=text("14")),
    _time("created_at"),
    _created_xid(),
    CheckConstraint("due_days BETWEEN 0 AND 365", name="due_days"),
    *_listed_by("customers"),
)
"""`prepaid`: invoices are collected from the wallet first, the rest by card."""

plan_assignments = Table(
    "plan_assignments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    _text("plan_code"),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    _time("created_at"),
    Index("ix_plan_assignments_customer_id", "customer_id", "effective_from", "id"),
    Index("ix_plan_assignments_plan_code", "plan_code", "customer_id"),
)
"""Added, never changed: a month is billed by the plan that its customer had then."""

payment_methods = Table(
    "payment_methods",
    metadata,
    _id(),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    _text("gateway"),
    _text("billing_key"),
    _text("last4"),
    Column("is_default", Boolean, nullable=False),
    _time("created_at"),
    Index(
        "uq_payment_methods_default",
        "customer_id",
        unique=True,
        postgresql_where=text("is_default"),
    ),
    Index("ix_payment_methods_customer_id", "customer_id"),
)

orders = Table(
    "orders",
    metadata,
    _id(),
    _text("customer_id"),
    _text("currency"),
    Column("lines", JSONB, nullable=False),
    _amount("amount"),
    _text("coupon_code", nullable=True),
    _running_amount("discount"),
    _running_amount("points"),
    _reference_unless_none("coupon_applied_by"),
    _text("status"),
    _text("review_reason", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _created_xid(),
    CheckConstraint("amount >= 0", name="amount"),
    CheckConstraint(
        "discount >= 0 AND points >= 0 AND discount + points <= amount", name="reductions"
    ),
    *_listed_by("orders", "customer_id", "status"),
)
"""`amount` is the sum of the lines; `discount` and `points` reduce what a payment has to collect in
money. `coupon_applied_by` is the payment that applies the coupon."""

payments = Table(
    "payments",
    metadata,
    _id(),
    _text("payable_type"),
    _reference("payable_id"),
    _text("customer_id"),
    _text("currency"),
    _text("method"),
    _amount("wallet_amount"),
    _amount("card_amount"),
    _running_amount("points_amount"),
    Column("coupon_code", Text, nullable=False, server_default=""),
    _running_amount("discount"),
    Column("stock", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    _text("gateway"),
    _text("billing_key"),
    Column("two_calls", Boolean, nullable=False, server_default=text("false")),
    Column("given_back", Boolean, nullable=False, server_default=text("false")),
    _text("status"),
    _text("failure_code", nullable=True),
    _text("failure_message", nullable=True),
    _text("gateway_code", nullable=True),
    _text("gateway_reference", nullable=True),
    _text("review_reason", nullable=True),
    _running_amount("card_refunded"),
    _running_amount("wallet_refunded"),
    _running_amount("points_refunded"),
    _running_amount("refunded_amount"),
    _running_amount("money_refunded"),
    _running_amount("points_earned"),
    _running_amount("points_taken_back"),
    _time_unless_open("cancel_requested_at"),
    _text("idempotency_key", nullable=True),
    _text("traceparent", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _created_xid(),
    CheckConstraint("wallet_amount >= 0 AND card_amount >= 0", name="amounts"),
    CheckConstraint("card_refunded BETWEEN 0 AND card_amount", name="card_refunded"),
    CheckConstraint("wallet_refunded BETWEEN 0 AND wallet_amount", name="wallet_refunded"),
    CheckConstraint("points_refunded BETWEEN 0 AND points_amount", name="points_refunded"),
    CheckConstraint(
        "refunded_amount BETWEEN 0 AND card_refunded + wallet_refunded + points_refunded",
        name="refunded_amount",
    ),
    CheckConstraint("points_taken_back BETWEEN 0 AND points_earned", name="points_taken_back"),
    Index(
        "uq_payments_live",
        "payable_type",
        "payable_id",
        unique=True,
        postgresql_where=text("status NOT IN ('FAILED', 'CANCELLED')"),
    ),
    Index("ix_payments_payable_id", "payable_id"),
    Index("ix_payments_open", "id", postgresql_where=text(f"status NOT IN {_FINAL}")),
    *_listed_by("payments", "customer_id", "status", "gateway"),
    Index("ix_payments_currency_money", "currency", text("(wallet_amount + card_amount)")),
)
"""`card_refunded`, `wallet_refunded` and `points_refunded` count pending refunds too: they reserve
what is left. `two_calls`: its gateway authorizes first and captures later. `given_back`: its
capture came late and is owed back, so that it can never complete."""

refunds = Table(
    "refunds",
    metadata,
    _id(),
    _reference("payment_id", "payments.id"),
    _text("customer_id"),
    _text("currency"),
    _amount("card_amount"),
    _amount("wallet_amount"),
    _running_amount("points_amount"),
    _text("gateway"),
    _text("reason"),
    _text("status"),
    _text("failure_code", nullable=True),
    _text("failure_message", nullable=True),
    _text("gateway_code", nullable=True),
    _text("gateway_reference", nullable=True),
    _text("review_reason", nullable=True),
    _text("idempotency_key", nullable=True),
    _text("traceparent", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _created_xid(),
    CheckConstraint(
        "wallet_amount >= 0 AND card_amount >= 0 AND points_amount >= 0"
        " AND wallet_amount + card_amount + points_amount > 0",
        name="amounts",
    ),
    Index("ix_refunds_payment_id", "payment_id"),
    Index("ix_refunds_open", "id", postgresql_where=text("status NOT IN ('COMPLETED', 'FAILED')")),
    *_listed_by("refunds", "customer_id", "status"),
)

top_ups = Table(
    "top_ups",
    metadata,
    _id(),
    _text("customer_id"),
    _text("currency"),
    _amount("amount"),
    _text("source"),
    _time("created_at"),
    CheckConstraint("amount > 0", name="amount"),
)

wallets = Table(
    "wallets",
    metadata,
    _text("customer_id"),
    _text("currency"),
    _running_amount("available"),
    _running_amount("held"),
    _time("created_at"),
    _created_xid(),
    PrimaryKeyConstraint("customer_id", "currency"),
    CheckConstraint("available >= 0 AND held >= 0", name="not_negative"),
    CheckConstraint("available + held <= 2000000000000000", name="bounded"),
    Index("ix_wallets_created_at", "created_at", "customer_id", "currency"),
    Index("ix_wallets_currency_created_at", "currency", "created_at", "customer_id"),
)

wallet_holds = Table(
    "wallet_holds",
    metadata,
    _reference("payment_id"),
    _text("customer_id"),
    _text("currency"),
    _amount("amount"),
    _text("state"),
    _time("created_at"),
    PrimaryKeyConstraint("payment_id", "currency"),
    CheckConstraint("state IN ('HELD', 'COMMITTED', 'RELEASED')", name="state"),
    Index("ix_wallet_holds_held", "payment_id", postgresql_where=text("state = 'HELD'")),
)
"""A RELEASED row that was never HELD is a tombstone: a late hold finds it and does nothing."""

ledger_transactions = Table(
    "ledger_transactions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("key"),
    _text("kind"),
    Column("payment_id", Uuid(as_uuid=False)),
    _time("created_at"),
    _created_xid(),
    UniqueConstraint("key"),
    Index("ix_ledger_transactions_payment_id", "payment_id"),
    Index("ix_ledger_transactions_created_xid", "created_xid", postgresql_using="brin"),
)

postings = Table(
    "postings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("transaction_id", BigInteger, ForeignKey("ledger_transactions.id"), nullable=False),
    _text("account"),
    _text("unit"),
    _amount("amount"),
    CheckConstraint("amount <> 0", name="amount"),
    Index("ix_postings_transaction_id", "transaction_id"),
    Index("ix_postings_account_id", "account", "id"),
)

gateway_attempts = Table(
    "gateway_attempts",
    metadata,
    _reference("reference_id"),
    _text("operation"),
    _reference("payment_id", "payments.id"),
    _text("customer_id"),
    _text("gateway"),
    _text("idempotency_key"),
    _amount("amount"),
    _text("currency"),
    _time("opened_at"),
    _text("opened_by_run"),
    _text("outcome", nullable=True),
    _text("gateway_reference", nullable=True),
    _text("code", nullable=True),
    _text("message", nullable=True),
    _time_unless_open("closed_at"),
    PrimaryKeyConstraint("reference_id", "operation"),
    Index("ix_gateway_attempts_payment_id", "payment_id"),
    Index(
        "ix_gateway_attempts_gateway_reference",
        "gateway_reference",
        postgresql_where=text("gateway_reference IS NOT NULL"),
    ),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _reference("reference_id"),
    _reference("payment_id", "payments.id"),
    _text("operation"),
    _text("question"),
    _text("reason"),
    _time("opened_at"),
    _time_unless_open("closed_at"),
    _text("outcome", nullable=True),
    _text("note", nullable=True),
    _text("decided_by", nullable=True),
    _created_xid(),
    Index(
        "uq_reviews_open",
        "reference_id",
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("ix_reviews_reference_id", "reference_id", "id"),
    Index("ix_reviews_payment_id", "payment_id"),
    Index("ix_reviews_opened_at_id", "opened_at", "id"),
    Index("ix_reviews_waiting", "opened_at", "id", postgresql_where=text("closed_at IS NULL")),
)
"""What waits, or waited, for a person. `reference_id` is a payment's id, or a refund's."""

watches = Table(
    "watches",
    metadata,
    Column("payment_id", Uuid(as_uuid=False), ForeignKey("payments.id"), primary_key=True),
    _text("operation"),
    Column("until", DateTime(timezone=True), nullable=False),
    _time("began_at"),
    _time_unless_open("ended_at"),
    Index("ix_watches_open", "payment_id", postgresql_where=text("ended_at IS NULL")),
)
"""Payments that have ended and of which the PG may still do late what it did not know."""

saga_steps = Table(
    "saga_steps",
    metadata,
    _reference("saga_id"),
    _text("step"),
    _text("state"),
    _time("at"),
    PrimaryKeyConstraint("saga_id", "step"),
    Index("ix_saga_steps_undone", "at", postgresql_where=text("state = 'UNDONE'")),
)

_ACTING = "COALESCE(current_setting('app.customer', true), '')"

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _text("caller"),
    _text("route"),
    _text("key"),
    Column("request_hash", LargeBinary, nullable=False),
    _reference("resource_id"),
    Column("response_status", SmallInteger),
    _text("response_body", nullable=True),
    _time("created_at"),
    Column("customer_id", Text, nullable=False, server_default=text(_ACTING)),
    PrimaryKeyConstraint("caller", "route", "key"),
    Index(
        "ix_idempotency_keys_bodies",
        "created_at",
        postgresql_where=text("response_body IS NOT NULL"),
    ),
)
"""The row stays for ever; only its stored body may be purged. `customer_id`: for whom the
transaction acted that claimed the key, as `Database` has told PostgreSQL; '' is the system."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("topic"),
    _reference("event_id"),
    _reference("aggregate_id"),
    Column("aggregate_version", Integer, nullable=False),
    _text("customer_id"),
    Column("data", JSONB, nullable=False),
    _text("idempotency_key", nullable=True),
    _text("traceparent", nullable=True),
    _time("occurred_at"),
    _time_unless_open("published_at"),
    _time_unless_open("refused_at"),
    _text("refusal", nullable=True),
    Column("raw_key", LargeBinary),
    Column("raw_header_names", ARRAY(Text)),
    Column("raw_header_values", ARRAY(LargeBinary)),
    Column("raw_value", LargeBinary),
    UniqueConstraint("aggregate_id", "aggregate_version"),
    Index(
        "ix_outbox_unpublished",
        "id",
        postgresql_where=text("published_at IS NULL AND refused_at IS NULL"),
    ),
    Index(
        "ix_outbox_refused",
        "topic",
        "aggregate_id",
        "id",
        postgresql_where=text("published_at IS NULL AND refused_at IS NOT NULL"),
    ),
)
"""`refused_at`: the broker does not take it, or one before it of its topic and aggregate, see
`refusal`; it is passed over until somebody tries it again. Where there are `raw_header_names` the
message is sent as the raw columns say, and the aggregate is the dead letter that it comes from."""

aggregate_versions = Table(
    "aggregate_versions",
    metadata,
    _id("aggregate_id"),
    Column("version", Integer, nullable=False),
)
"""Updated before an outbox row is inserted: it serialises the events of an aggregate."""

gateway_webhooks = Table(
    "gateway_webhooks",
    metadata,
    _text("gateway"),
    _text("event_id"),
    Column("body", JSONB, nullable=False),
    _time("received_at"),
    _created_xid(),
    PrimaryKeyConstraint("gateway", "event_id"),
    Index("ix_gateway_webhooks_received_at", "received_at", "gateway", "event_id"),
    Index("ix_gateway_webhooks_gateway_received_at", "gateway", "received_at", "event_id"),
    Index("ix_gateway_webhooks_created_xid", "created_xid", postgresql_using="brin"),
)

coupons = Table(
    "coupons",
    metadata,
    Column("code", Text, primary_key=True),
    _text("kind"),
    Column("basis_points", Integer, nullable=False),
    Column("amounts", JSONB, nullable=False),
    Column("minimum_order", JSONB, nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    Column("customer_limit", Integer),
    Column("total_limit", Integer),
    Column("issue_limit", Integer),
    Column("issued", Integer, nullable=False, server_default=text("0")),
    Column("used", Integer, nullable=False, server_default=text("0")),
    _time("created_at"),
    _time("updated_at"),
    _created_xid(),
    CheckConstraint("issued >= 0 AND used >= 0", name="counts"),
    CheckConstraint("kind IN ('PERCENTAGE', 'FIXED')", name="kind"),
)
"""`used` counts uses in progress too: they hold their place."""

coupon_claims = Table(
    "coupon_claims",
    metadata,
    _id(),
    Column("code", Text, ForeignKey("coupons.code"), nullable=False),
    _text("customer_id"),
    _time("created_at"),
    Index("ix_coupon_claims_code_customer_id", "code", "customer_id"),
)

coupon_uses = Table(
    "coupon_uses",
    metadata,
    _id("payment_id"),
    Column("code", Text, ForeignKey("coupons.code"), nullable=False),
    _text("customer_id"),
    _text("state"),
    _time("created_at"),
    CheckConstraint("state IN ('IN_USE', 'USED', 'RESTORED')", name="state"),
    Index("ix_coupon_uses_in_use", "payment_id", postgresql_where=text("state = 'IN_USE'")),
    Index(
        "ix_coupon_uses_live",
        "code",
        "customer_id",
        postgresql_where=text("state IN ('IN_USE', 'USED')"),
    ),
)

inventory = Table(
    "inventory",
    metadata,
    Column("sku", Text, primary_key=True),
    _running_amount("on_hand"),
    _running_amount("reserved"),
    Column("withdrawn", Boolean, nullable=False, server_default=text("false")),
    _time("updated_at"),
    CheckConstraint("reserved >= 0 AND on_hand >= reserved", name="not_negative"),
)

stock_reservations = Table(
    "stock_reservations",
    metadata,
    _reference("payment_id"),
    _text("sku"),
    _amount("quantity"),
    _text("state"),
    _text("resolution", nullable=True),
    _time("created_at"),
    PrimaryKeyConstraint("payment_id", "sku"),
    CheckConstraint("state IN ('RESERVED', 'COMMITTED', 'RESTORED', 'NEEDS_REVIEW')", name="state"),
    Index(
        "ix_stock_reservations_reserved",
        "payment_id",
        postgresql_where=text("state = 'RESERVED'"),
    ),
    Index(
        "ix_stock_reservations_review",
        "created_at",
        postgresql_where=text("state = 'NEEDS_REVIEW'"),
    ),
)

inbox = Table(
    "inbox",
    metadata,
    _text("consumer"),
    _reference("event_id"),
    _time("received_at"),
    PrimaryKeyConstraint("consumer", "event_id"),
)
"""What a consumer has taken, written in the transaction of its effect."""

sku_rankings = Table(
    "sku_rankings",
    metadata,
    Column("sku", Text, primary_key=True),
    _running_amount("orders"),
    _running_amount("quantity"),
)
"""A read model: it can be forgotten and rebuilt from the outbox at any time."""

pricing_plans = Table(
    "pricing_plans",
    metadata,
    _text("code"),
    Column("version", Integer, nullable=False),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    Column("body", JSONB, nullable=False),
    _time("created_at"),
    _created_xid(),
    PrimaryKeyConstraint("code", "version"),
)
"""Versions are added, never changed: what was effective when stays known."""

usage_identities = Table(
    "usage_identities",
    metadata,
    _text("customer_id"),
    _text("event_id"),
    Column("payload_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("customer_id", "event_id"),
)
"""Not partitioned: an event counts once, however late it is repeated."""

usage_events = Table(
    "usage_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _text("customer_id"),
    _text("event_id"),
    _text("resource_type"),
    Column("quantity", Numeric(24, 6), nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    _time("received_at"),
    Column("invoice_id", Uuid(as_uuid=False)),
    _text("void_reason", nullable=True),
    _created_xid(),
    PrimaryKeyConstraint("id", "occurred_at"),
    CheckConstraint("quantity >= 0", name="quantity"),
    Index(
        "ix_usage_events_unclaimed",
        "customer_id",
        "occurred_at",
        postgresql_where=text("invoice_id IS NULL"),
    ),
    Index("ix_usage_events_customer_id_occurred_at_id", "customer_id", "occurred_at", "id"),
    Index("ix_usage_events_invoice_id_occurred_at_id", "invoice_id", "occurred_at", "id"),
    Index("ix_usage_events_created_xid", "created_xid", postgresql_using="brin"),
    postgresql_partition_by="RANGE (occurred_at)",
)
"""`invoice_id` is the invoice that has claimed the event; none ever claims a void one."""

aggregated_usage = Table(
    "aggregated_usage",
    metadata,
    _reference("invoice_id"),
    _text("resource_type"),
    _text("period"),
    Column("quantity", Numeric(30, 6), nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    _text("digest"),
    PrimaryKeyConstraint("invoice_id", "resource_type", "period"),
)
"""`digest` is the SHA-256 of the event ids in order, one per line."""

invoices = Table(
    "invoices",
    metadata,
    _id(),
    Column("number", BigInteger),
    _text("customer_id"),
    _text("period"),
    _text("currency"),
    _amount("total"),
    _text("status"),
    Column("snapshot", JSONB, nullable=False),
    Column("checks", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("decisions", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    _text("reason", nullable=True),
    _text("workflow_id"),
    _text("run_id"),
    Column("retries", Integer, nullable=False, server_default=text("0")),
    _time_unless_open("next_attempt_at"),
    _time_unless_open("issued_at"),
    _time_unless_open("due_at"),
    _time_unless_open("closed_at"),
    _time("created_at"),
    _time("updated_at"),
    _created_xid(),
    CheckConstraint("total >= 0", name="total"),
    UniqueConstraint("number"),
    Index(
        "uq_invoices_customer_id_period",
        "customer_id",
        "period",
        unique=True,
        postgresql_where=text("status NOT IN ('REJECTED', 'CANCELLED')"),
    ),
    Index("ix_invoices_created_at_id", "created_at", "id"),
    Index("ix_invoices_created_xid", "created_xid"),
    Index("ix_invoices_customer_id_created_at_id", "customer_id", "created_at", "id"),
    Index(
        "ix_invoices_open",
        "id",
        postgresql_where=text("status IN ('ISSUED', 'OVERDUE', 'UNCOLLECTIBLE')"),
    ),
    Index("ix_invoices_cancelled", "id", postgresql_where=text("status = 'CANCELLED'")),
    Index(
        "ix_invoices_drafts",
        "id",
        postgresql_where=text("status IN ('DRAFT', 'AWAITING_APPROVAL')"),
    ),
    Index(
        "ix_invoices_receivables",
        "closed_at",
        "issued_at",
        "due_at",
        postgresql_include=["currency", "total"],
        postgresql_where=text("issued_at IS NOT NULL"),
    ),
)

invoice_lines = Table(
    "invoice_lines",
    metadata,
    Column("invoice_id", Uuid(as_uuid=False), ForeignKey("invoices.id"), nullable=False),
    Column("position", Integer, nullable=False),
    _text("kind"),
    _text("resource_type", nullable=True),
    _text("period"),
    Column("quantity", Numeric(30, 6), nullable=False),
    _amount("amount"),
    Column("steps", JSONB, nullable=False),
    PrimaryKeyConstraint("invoice_id", "position"),
)

invoice_numbers = Table(
    "invoice_numbers",
    metadata,
    _text("series"),
    Column("last", BigInteger, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("series"),
)
"""A counter row, not a sequence: invoice numbers have no gaps, and their dates rise with them."""

settlement_outcomes = Table(
    "settlement_outcomes",
    metadata,
    _text("period"),
    _text("customer_id"),
    _text("status"),
    _text("reason", nullable=True),
    Column("invoice_id", Uuid(as_uuid=False)),
    _time("updated_at"),
    _created_xid(),
    PrimaryKeyConstraint("period", "customer_id"),
    Index("ix_settlement_outcomes_period_status", "period", "status"),
    Index("ix_settlement_outcomes_status", "status", "period", "customer_id"),
    Index("ix_settlement_outcomes_customer_id", "customer_id", "period"),
    Index("ix_settlement_outcomes_invoice_id", "invoice_id"),
    Index(
        "ix_settlement_outcomes_not_over",
        "customer_id",
        "period",
        postgresql_where=text("status = 'NOT_OVER'"),
    ),
)
"""How the settlement of a customer's month ended, as far as it has."""

settlement_runs = Table(
    "settlement_runs",
    metadata,
    Column("period", Text, primary_key=True),
    _time("started_at"),
    _time_unless_open("finished_at"),
)

_LIVE_LETTER = "state IN ('OPEN', 'REPLAYING')"

dead_letters = Table(
    "dead_letters",
    metadata,
    _id(),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    _created_xid(),
    _text("source"),
    _text("reference", nullable=True),
    _text("origin", nullable=True),
    _text("message_id", nullable=True),
    _text("dlt_topic", nullable=True),
    _text("original_topic", nullable=True),
    Column("partition", Integer),
    Column("offset", BigInteger),
    Column("timestamp", BigInteger),
    Column("key", LargeBinary),
    Column("header_names", ARRAY(Text), nullable=False),
    Column("header_values", ARRAY(LargeBinary), nullable=False),
    Column("payload", LargeBinary),
    _text("error_class"),
    _text("failure_reason"),
    _text("stacktrace", nullable=True),
    _text("consumer_group", nullable=True),
    _time_unless_open("original_at"),
    _time("occurred_at"),
    Column("retry_count", Integer, nullable=False, server_default=text("0")),
    _text("idempotency_key", nullable=True),
    _text("customer_id", nullable=True),
    Column("replay_of", Uuid(as_uuid=False), ForeignKey("dead_letters.id")),
    Column("state", Text, nullable=False, server_default="OPEN"),
    _text("state_reason", nullable=True),
    _text("state_actor", nullable=True),
    _time_unless_open("state_at"),
    _reference_unless_none("job_id"),
    _time("created_at"),
    CheckConstraint(
        "state IN ('OPEN', 'REPLAYING', 'REPLAYED', 'DISCARDED', 'RESOLVED')", name="state"
    ),
    UniqueConstraint("position"),
    UniqueConstraint("origin"),
    Index(
        "uq_dead_letters_live",
        "reference",
        unique=True,
        postgresql_where=text(f"reference IS NOT NULL AND {_LIVE_LETTER}"),
    ),
    Index("ix_dead_letters_open", "position", postgresql_where=text("state = 'OPEN'")),
    Index("ix_dead_letters_replaying", "id", postgresql_where=text("state = 'REPLAYING'")),
    Index("ix_dead_letters_message_id", "message_id", "position"),
    Index("ix_dead_letters_customer_id", "customer_id", "position"),
    Index("ix_dead_letters_occurred_at", "occurred_at"),
    Index("ix_dead_letters_created_xid", "created_xid"),
    Index(
        "ix_dead_letters_replay_of",
        "replay_of",
        postgresql_where=text("replay_of IS NOT NULL"),
    ),
)
"""What could not be done or taken, in its very bytes, and what an operator made of it. `origin`
tells whether it was set aside before, `reference` is the workflow of a thing of our own: see
`domain.dead_letter`."""

dead_letter_jobs = Table(
    "dead_letter_jobs",
    metadata,
    _id(),
    _text("operation"),
    _text("source", nullable=True),
    Column("wanted", JSONB, nullable=False),
    _text("reason", nullable=True),
    Column("actor", JSONB, nullable=False),
    _text("actor_id"),
    _text("snapshot"),
    _text("state"),
    _text("state_reason", nullable=True),
    Column("total", Integer, nullable=False, server_default=text("0")),
    _time("started_at"),
    _time("watched_from"),
    _time_unless_open("finished_at"),
    Index(
        "uq_dead_letter_jobs_dry_run",
        "actor_id",
        "operation",
        "wanted",
        unique=True,
        postgresql_where=text("state = 'DRY_RUN'"),
    ),
    Index(
        "ix_dead_letter_jobs_under_way",
        "id",
        postgresql_where=text("state IN ('RUNNING', 'PAUSED')"),
    ),
)
"""Many letters for which somebody has decided the same. A dry run is a row too, of which only
`snapshot` matters: what it could see is what a job that follows it may touch. `watched_from`: since
when letters are counted that come back."""

dead_letter_job_items = Table(
    "dead_letter_job_items",
    metadata,
    _reference("job_id", "dead_letter_jobs.id"),
    _reference("letter_id", "dead_letters.id"),
    Column("position", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="PENDING"),
    _text("error", nullable=True),
    _time_unless_open("done_at"),
    PrimaryKeyConstraint("job_id", "letter_id"),
    CheckConstraint("state IN ('PENDING', 'DONE', 'FAILED')", name="state"),
    Index(
        "ix_dead_letter_job_items_pending",
        "job_id",
        "position",
        postgresql_where=text("state = 'PENDING'"),
    ),
)
"""The letters of a job, as they were when it began, in the order in which they came."""

proposals = Table(
    "proposals",
    metadata,
    _id(),
    _text("kind"),
    _text("target_id"),
    _text("what"),
    Column("content", JSONB, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'PROPOSED'")),
    _text("reason", nullable=True),
    _text("proposed_by"),
    _time("proposed_at"),
    Column("holds_until", DateTime(timezone=True), nullable=False),
    _text("ended_by", nullable=True),
    _time_unless_open("ended_at"),
    CheckConstraint("status <> 'SECONDED' OR ended_by <> proposed_by", name="two_persons"),
    CheckConstraint(
        "(status = 'PROPOSED') = (ended_by IS NULL) AND (ended_by IS NULL) = (ended_at IS NULL)",
        name="ended_by_somebody",
    ),
    Index("ix_proposals_digest", "digest", "id"),
    Index("ix_proposals_open", "id", postgresql_where=text("status = 'PROPOSED'")),
)
"""What one person alone may not decide. `digest`: of what two calls must have in common."""

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _created_xid(),
    _time("at"),
    _text("actor_type"),
    _text("actor_id"),
    _text("ip", nullable=True),
    _text("user_agent", nullable=True),
    _text("trace_id", nullable=True),
    _text("request_id", nullable=True),
    _text("action"),
    _text("target_type"),
    _text("target_id"),
    _text("customer_id", nullable=True),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    _text("reason", nullable=True),
    _time_unless_open("viewed_from"),
    Index("ix_audit_entries_created_xid_id", "created_xid", "id"),
    Index("ix_audit_entries_at", "at", postgresql_using="brin"),
    Index("ix_audit_entries_target", "target_id", "target_type", "id"),
    Index("ix_audit_entries_actor_id_id", "actor_id", "id"),
    Index("ix_audit_entries_action_id", "action", "id"),
    Index(
        "ix_audit_entries_customer_id_id",
        "customer_id",
        "id",
        postgresql_where=text("customer_id IS NOT NULL"),
    ),
    Index(
        "ix_audit_entries_trace_id_id",
        "trace_id",
        "id",
        postgresql_where=text("trace_id IS NOT NULL"),
    ),
    Index(
        "uq_audit_entries_viewed",
        "actor_id",
        "target_type",
        "target_id",
        "viewed_from",
        unique=True,
        postgresql_where=text("viewed_from IS NOT NULL"),
    ),
)
"""Who did what; added, never changed. `viewed_from`: the begin of the ten minutes in which somebody
looked at the thing, and is not noted twice."""

audit_seals = Table(
    "audit_seals",
    metadata,
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("from_id", BigInteger, nullable=False),
    Column("last_xid", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("highest_id", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    _time("sealed_at"),
)
"""The chain: each seal hashes the one before it and the entries since then, in the order of
(created_xid, id). `from_id`, `highest_id`: see `domain.audit.Seal`."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _text("family"),
    _text("name"),
    _text("role"),
    Column("customer_id", Text, ForeignKey("customers.id")),
    Column("scopes", ARRAY(Text)),
    Column("networks", ARRAY(Text), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _text("digest_secret"),
    _text("created_by"),
    _time("created_at"),
    _time_unless_open("expires_at"),
    _time_unless_open("revoked_at"),
    _time_unless_open("last_used_at"),
    CheckConstraint("(role = 'customer') = (customer_id IS NOT NULL)", name="holder"),
    Index("ix_api_keys_customer_id", "customer_id", "id"),
    Index("ix_api_keys_family", "family"),
)
"""A key itself is nowhere: `digest` is an HMAC of it under the secret named `digest_secret`."""

auth_users = Table(
    "auth_users",
    metadata,
    _id(),
    _text("name"),
    _text("password_hash"),
    Column("roles", ARRAY(Text), nullable=False),
    Column("customer_id", Text, ForeignKey("customers.id")),
    _time("created_at"),
    _time_unless_open("disabled_at"),
    UniqueConstraint("name"),
    CheckConstraint("('customer' = ANY (roles)) = (customer_id IS NOT NULL)", name="customer"),
)
"""Who may log in at our own issuer. Never deleted: the trail names them by their ids."""

auth_sessions = Table(
    "auth_sessions",
    metadata,
    _id(),
    _reference("user_id", "auth_users.id"),
    _text("client_id"),
    _text("seed"),
    _time("created_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    _time_unless_open("revoked_at"),
    Index("ix_auth_sessions_user_id", "user_id"),
    Index("ix_auth_sessions_expires_at", "expires_at"),
)
"""A log-in: the family of refresh tokens that ends as one; `seed` is sealed where keys are."""

auth_refresh_tokens = Table(
    "auth_refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column(
        "session_id",
        Uuid(as_uuid=False),
        ForeignKey("auth_sessions.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("generation", Integer, nullable=False),
    _time_unless_open("used_at"),
    UniqueConstraint("session_id", "generation"),
)
"""Kept by their digests; used once."""

auth_signing_keys = Table(
    "auth_signing_keys",
    metadata,
    _id(),
    Column("public", JSONB, nullable=False),
    _text("private"),
    _time("created_at"),
    Column("signs_from", DateTime(timezone=True), nullable=False),
    _time_unless_open("withdrawn_at"),
)
"""What our own issuer signs with; `private` is sealed where keys are."""
