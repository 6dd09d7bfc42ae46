"""A role of its own for our own issuer: who has the application's reads no hash of a password, and
no key that tokens are signed with.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = {
    "auth_users": "SELECT, INSERT, UPDATE (password_hash, roles, customer_id, disabled_at)",
    "auth_sessions": "SELECT, INSERT, DELETE, UPDATE (revoked_at)",
    "auth_refresh_tokens": "SELECT, INSERT, UPDATE (used_at)",
    "auth_signing_keys": "SELECT, INSERT, UPDATE (withdrawn_at)",
}
"""Its own, with the rights that the application had."""
WRITTEN = (
    "actor_type, actor_id, ip, user_agent, trace_id, request_id, action, target_type, target_id,"
    " customer_id, before, after, reason, viewed_from"
)
SEEN = "id, actor_id, target_type, target_id, viewed_from"
"""Whether something was noted a moment ago."""
ITS_OWN = "target_type IN ('user', 'session', 'signing-key', 'command')"
"""What it does, and that its commands work past the API."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _require_role()
    for table, rights in TABLES.items():
        op.execute(f"REVOKE ALL ON {table} FROM billing_app")
        op.execute(f"GRANT {rights} ON {table} TO billing_auth")
    op.execute(f"GRANT INSERT ({WRITTEN}), SELECT ({SEEN}) ON audit_entries TO billing_auth")
    op.execute(
        "CREATE POLICY issuer ON audit_entries TO billing_auth"
        f" USING ({ITS_OWN}) WITH CHECK ({ITS_OWN})"
    )
    # Whether there is such a customer, and nothing about it.
    op.execute("GRANT SELECT (id) ON customers TO billing_auth")
    op.execute("CREATE POLICY issuer ON customers FOR SELECT TO billing_auth USING (true)")


def _require_role() -> None:
    """Only who administers the server makes roles."""
    op.execute("""
        DO $$ BEGIN
            IF to_regrole('billing_auth') IS NULL THEN
                RAISE EXCEPTION 'the role billing_auth is missing'
                    USING HINT = 'As a superuser: CREATE ROLE billing_auth LOGIN;';
            END IF;
        END $$
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP POLICY issuer ON customers")
    op.execute("DROP POLICY issuer ON audit_entries")
    op.execute("REVOKE ALL ON customers, audit_entries FROM billing_auth")
    for table, rights in TABLES.items():
        op.execute(f"REVOKE ALL ON {table} FROM billing_auth")
        op.execute(f"GRANT {rights} ON {table} TO billing_app")
