"""Our own issuer of tokens: who may log in, the sessions of those who have, and signing keys.

Only `billing_app` has rights here: nobody reads these tables for a customer.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

GRANTS = {
    "auth_users": "SELECT, INSERT, UPDATE (password_hash, roles, customer_id, disabled_at)",
    "auth_sessions": "SELECT, INSERT, DELETE, UPDATE (revoked_at)",
    "auth_refresh_tokens": "SELECT, INSERT, UPDATE (used_at)",
    "auth_signing_keys": "SELECT, INSERT, UPDATE (withdrawn_at)",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _users()
    _sessions()
    _signing_keys()
    for table, rights in GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO billing_app")


def _moment(name: str, default: str | None = None, nullable: bool = False) -> sa.Column[object]:
    now = None if default is None else sa.text(default)
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=nullable)


def _users() -> None:
    op.create_table(
        "auth_users",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        _moment("created_at", "now()"),
        _moment("disabled_at", nullable=True),
        sa.CheckConstraint(
            "('customer' = ANY (roles)) = (customer_id IS NOT NULL)",
            name=op.f("ck_auth_users_customer"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_auth_users_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_users")),
        sa.UniqueConstraint("name", name=op.f("uq_auth_users_name")),
    )


def _sessions() -> None:
    op.create_table(
        "auth_sessions",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        _moment("created_at", "now()"),
        _moment("expires_at"),
        _moment("revoked_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_users.id"], name=op.f("fk_auth_sessions_user_id_auth_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_sessions")),
    )
    for name in ("user_id", "expires_at"):
        op.create_index(f"ix_auth_sessions_{name}", "auth_sessions", [name])
    op.create_table(
        "auth_refresh_tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        _moment("used_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["auth_sessions.id"],
            name=op.f("fk_auth_refresh_tokens_session_id_auth_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_auth_refresh_tokens")),
        sa.UniqueConstraint(
            "session_id",
            "generation",
            name=op.f("uq_auth_refresh_tokens_session_id_generation"),
        ),
    )


def _signing_keys() -> None:
    op.create_table(
        "auth_signing_keys",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("public", postgresql.JSONB(), nullable=False),
        sa.Column("private", sa.Text(), nullable=False),
        _moment("created_at", "now()"),
        _moment("signs_from"),
        _moment("withdrawn_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_signing_keys")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(GRANTS):
        op.drop_table(table)
