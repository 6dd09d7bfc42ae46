"""What one person has proposed, and another must agree to; and old audit entries may go."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


REFUSE = """
    CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    {declared}
    BEGIN
        {unless}
        RAISE EXCEPTION 'the audit trail is append-only: % on % refused', TG_OP, TG_TABLE_NAME;
    END $$
"""
DECLARED = "DECLARE cut audit_seals;"
CUT = """
        -- What is older than a year, and only together with the entry that says up to which seal.
        IF TG_OP = 'DELETE' THEN
            SELECT seal.* INTO cut FROM audit_entries AS entry JOIN audit_seals AS seal
                ON seal.n = (entry.after->>'seal')::bigint
                AND encode(seal.hash, 'hex') = entry.after->>'hash'
            WHERE entry.created_xid = (pg_current_xact_id()::text)::bigint
                AND entry.action = 'TRAIL_CUT';
            IF FOUND AND TG_TABLE_NAME = 'audit_seals' THEN
                IF OLD.n < cut.n AND OLD.sealed_at < now() - interval '1 year' THEN
                    RETURN OLD;
                END IF;
            ELSIF FOUND THEN
                IF OLD.at < now() - interval '1 year' AND (
                    OLD.id < cut.from_id OR (OLD.created_xid, OLD.id) <= (cut.last_xid, cut.last_id)
                ) THEN
                    RETURN OLD;
                END IF;
            END IF;
        END IF;
"""


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
    op.execute(REFUSE.format(declared=DECLARED, unless=CUT))
    op.execute("GRANT DELETE ON audit_entries, audit_seals TO billing_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("REVOKE DELETE ON audit_entries, audit_seals FROM billing_app")
    op.execute(REFUSE.format(declared="", unless=""))
    op.drop_index("ix_plan_assignments_plan_code", table_name="plan_assignments")
    op.drop_table("proposals")
