"""What one person has proposed, and another must agree to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "proposals",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'PROPOSED'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column(
            "proposed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("holds_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
        sa.CheckConstraint(
            "status <> 'SECONDED' OR ended_by <> proposed_by", name=op.f("ck_proposals_two_persons")
        ),
        sa.CheckConstraint(
            "(status = 'PROPOSED') = (ended_by IS NULL) AND"
            " (ended_by IS NULL) = (ended_at IS NULL)",
            name=op.f("ck_proposals_ended_by_somebody"),
        ),
    )
    op.create_index("ix_proposals_digest", "proposals", ["digest", "id"])
    op.create_index(
        "ix_proposals_open",
        "proposals",
        ["id"],
        postgresql_where=sa.text("status = 'PROPOSED'"),
    )
    # Who has a plan is asked before its prices change.
    op.create_index(
        "ix_plan_assignments_plan_code", "plan_assignments", ["plan_code", "customer_id"]
    )
    op.execute("""
        CREATE TRIGGER final_stays BEFORE UPDATE ON proposals FOR EACH ROW
        WHEN (OLD.status <> 'PROPOSED') EXECUTE FUNCTION refuse_reopening('status')
    """)
    op.execute("ALTER TABLE proposals ENABLE ALWAYS TRIGGER final_stays")
    op.execute("GRANT SELECT, INSERT ON proposals TO billing_app")
    op.execute("GRANT UPDATE (status, ended_by, ended_at) ON proposals TO billing_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_plan_assignments_plan_code", table_name="plan_assignments")
    op.drop_table("proposals")
