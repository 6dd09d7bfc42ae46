"""Coupons, stock, points and the ranking: what the whole order saga needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATE = ("coupon_claims", "coupon_uses", "coupons", "inventory", "stock_reservations")
READ_MODEL = ("inbox", "sku_rankings")


def upgrade() -> None:
    # A migration that cannot get its locks soon must not queue the whole traffic behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "coupons",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("basis_points", sa.Integer(), nullable=False),
        sa.Column("amounts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("minimum_order", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("customer_limit", sa.Integer(), nullable=True),
        sa.Column("total_limit", sa.Integer(), nullable=True),
        sa.Column("issue_limit", sa.Integer(), nullable=True),
        sa.Column("issued", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('PERCENTAGE', 'FIXED')", name=op.f("ck_coupons_kind")),
        sa.CheckConstraint("issued >= 0 AND used >= 0", name=op.f("ck_coupons_counts")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_coupons")),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "inventory",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "reserved >= 0 AND on_hand >= reserved", name=op.f("ck_inventory_not_negative")
        ),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_inventory")),
    )
    op.create_table(
        "sku_rankings",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("orders", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_sku_rankings")),
    )
    op.create_table(
        "stock_reservations",
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('RESERVED', 'COMMITTED', 'RESTORED', 'NEEDS_REVIEW')",
            name=op.f("ck_stock_reservations_state"),
        ),
        sa.PrimaryKeyConstraint("payment_id", "sku", name=op.f("pk_stock_reservations")),
    )
    op.create_index(
        "ix_stock_reservations_review",
        "stock_reservations",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'NEEDS_REVIEW'"),
    )
    op.create_table(
        "coupon_claims",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["code"], ["coupons.code"], name=op.f("fk_coupon_claims_code_coupons")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_claims")),
    )
    op.create_index(
        "ix_coupon_claims_code_customer_id", "coupon_claims", ["code", "customer_id"], unique=False
    )
    op.create_table(
        "coupon_uses",
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('IN_USE', 'USED', 'RESTORED')", name=op.f("ck_coupon_uses_state")
        ),
        sa.ForeignKeyConstraint(
            ["code"], ["coupons.code"], name=op.f("fk_coupon_uses_code_coupons")
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_coupon_uses")),
    )
    op.create_index(
        "ix_coupon_uses_live",
        "coupon_uses",
        ["code", "customer_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('IN_USE', 'USED')"),
    )
    op.add_column("orders", sa.Column("coupon_code", sa.Text(), nullable=True))
    op.add_column(
        "orders",
        sa.Column("discount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "orders", sa.Column("points", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("orders", sa.Column("coupon_applied_by", sa.Uuid(as_uuid=False), nullable=True))
    op.add_column(
        "payments",
        sa.Column("points_amount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "payments", sa.Column("coupon_code", sa.Text(), server_default="", nullable=False)
    )
    op.add_column(
        "payments",
        sa.Column("discount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "payments",
        sa.Column(
            "stock",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
    )
    op.add_column(
        "payments",
        sa.Column("two_calls", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column(
        "payments",
        sa.Column("points_refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "payments",
        sa.Column("money_refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "payments",
        sa.Column("points_earned", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "payments",
        sa.Column(
            "points_taken_back", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
    )
    op.add_column(
        "refunds",
        sa.Column("points_amount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    _replace_constraints()
    op.drop_constraint("pk_wallet_holds", "wallet_holds")
    op.create_primary_key("pk_wallet_holds", "wallet_holds", ["payment_id", "currency"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(STATE)} TO billing_app")
    # A read model may be forgotten, to be built again from the outbox.
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(READ_MODEL)} TO billing_app")


def _replace_constraints() -> None:
    op.create_check_constraint(
        op.f("ck_orders_reductions"),
        "orders",
        "discount >= 0 AND points >= 0 AND discount + points <= amount",
    )
    op.create_check_constraint(
        op.f("ck_payments_points_refunded"),
        "payments",
        "points_refunded BETWEEN 0 AND points_amount",
    )
    op.create_check_constraint(
        op.f("ck_payments_points_taken_back"),
        "payments",
        "points_taken_back BETWEEN 0 AND points_earned",
    )
    op.drop_constraint(op.f("ck_payments_refunded_amount"), "payments")
    op.create_check_constraint(
        op.f("ck_payments_refunded_amount"),
        "payments",
        "refunded_amount BETWEEN 0 AND card_refunded + wallet_refunded + points_refunded",
    )
    op.drop_constraint(op.f("ck_refunds_amounts"), "refunds")
    op.create_check_constraint(
        op.f("ck_refunds_amounts"),
        "refunds",
        "wallet_amount >= 0 AND card_amount >= 0 AND points_amount >= 0"
        " AND wallet_amount + card_amount + points_amount > 0",
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_constraint("pk_wallet_holds", "wallet_holds")
    op.create_primary_key("pk_wallet_holds", "wallet_holds", ["payment_id"])
    op.drop_constraint(op.f("ck_orders_reductions"), "orders")
    op.drop_constraint(op.f("ck_payments_points_refunded"), "payments")
    op.drop_constraint(op.f("ck_payments_points_taken_back"), "payments")
    op.drop_constraint(op.f("ck_payments_refunded_amount"), "payments")
    op.create_check_constraint(
        op.f("ck_payments_refunded_amount"),
        "payments",
        "refunded_amount BETWEEN 0 AND card_refunded + wallet_refunded",
    )
    op.drop_constraint(op.f("ck_refunds_amounts"), "refunds")
    op.create_check_constraint(
        op.f("ck_refunds_amounts"),
        "refunds",
        "wallet_amount >= 0 AND card_amount >= 0 AND wallet_amount + card_amount > 0",
    )
    op.drop_column("refunds", "points_amount")
    op.drop_column("payments", "points_taken_back")
    op.drop_column("payments", "points_earned")
    op.drop_column("payments", "money_refunded")
    op.drop_column("payments", "points_refunded")
    op.drop_column("payments", "two_calls")
    op.drop_column("payments", "points_amount")
    op.drop_column("payments", "stock")
    op.drop_column("payments", "discount")
    op.drop_column("payments", "coupon_code")
    op.drop_column("orders", "coupon_applied_by")
    op.drop_column("orders", "points")
    op.drop_column("orders", "discount")
    op.drop_column("orders", "coupon_code")
    op.drop_index(
        "ix_coupon_uses_live",
        table_name="coupon_uses",
        postgresql_where=sa.text("state IN ('IN_USE', 'USED')"),
    )
    op.drop_table("coupon_uses")
    op.drop_index("ix_coupon_claims_code_customer_id", table_name="coupon_claims")
    op.drop_table("coupon_claims")
    op.drop_index(
        "ix_stock_reservations_review",
        table_name="stock_reservations",
        postgresql_where=sa.text("state = 'NEEDS_REVIEW'"),
    )
    op.drop_table("stock_reservations")
    op.drop_table("sku_rankings")
    op.drop_table("inventory")
    op.drop_table("inbox")
    op.drop_table("coupons")
