"""Plans are assigned from a moment on; what was given up is owed; usage can be voided."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "plan_assignments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["customers.id"],
            name=op.f("fk_plan_assignments_customer_id_customers"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_assignments")),
    )
    op.create_index(
        "ix_plan_assignments_customer_id",
        "plan_assignments",
        ["customer_id", "effective_from", "id"],
        unique=False,
    )
    op.execute("""
        INSERT INTO plan_assignments (customer_id, plan_code, effective_from)
        SELECT id, plan_code, '2000-01-01T00:00:00Z' FROM customers WHERE plan_code IS NOT NULL
    """)
    op.execute("GRANT SELECT, INSERT ON plan_assignments TO billing_app")
    op.drop_column("customers", "plan_code")
    # What was given up is still owed.
    op.execute("UPDATE invoices SET closed_at = NULL WHERE status = 'UNCOLLECTIBLE'")
    _unpaid("'ISSUED', 'OVERDUE', 'UNCOLLECTIBLE'")
    op.add_column("usage_events", sa.Column("void_reason", sa.Text(), nullable=True))


def _unpaid(statuses: str) -> None:
    op.drop_index("ix_invoices_unpaid", table_name="invoices")
    op.create_index(
        "ix_invoices_unpaid",
        "invoices",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text(f"status IN ({statuses})"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM usage_events WHERE void_reason IS NOT NULL) THEN
                RAISE EXCEPTION 'usage was voided: without its mark it would be billed';
            END IF;
        END $$
    """)
    op.add_column("customers", sa.Column("plan_code", sa.Text(), nullable=True))
    op.execute("""
        UPDATE customers SET plan_code = (
            SELECT plan_code FROM plan_assignments
            WHERE customer_id = customers.id AND effective_from <= now()
            ORDER BY effective_from DESC, plan_assignments.id DESC LIMIT 1
        )
    """)
    op.drop_table("plan_assignments")
    op.drop_column("usage_events", "void_reason")
    _unpaid("'ISSUED', 'OVERDUE'")
