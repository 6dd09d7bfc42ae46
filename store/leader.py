"""One of all processes, or some: who holds the lock that this is about, for as long as its
connection lasts.

Not to the commit: whoever leads does so for hours, and no transaction is open meanwhile.
"""

from datetime import timedelta

from sqlalchemy import func, select, text

from store.database import Transaction

SILENCE = timedelta(minutes=1)
"""After so long without a statement PostgreSQL ends the leader's session: a process that is frozen,
or whose machine has gone, leads no longer."""


async def lead(tx: Transaction, name: str) -> bool:
    """Whether this connection leads from now on; False while another one does. `tx` is one of
    `Database.statements` that goes to nobody else afterwards: what is said here is of its session.
    """
    key = func.hashtextextended(_named(name), 0)
    if not await tx.scalar(select(func.pg_try_advisory_lock(key))):
        return False
    await _end_when_silent(tx)
    return True


async def attend(tx: Transaction, name: str) -> None:
    """This connection is one of those that lead from now on, beside all others that attend. `tx` as
    above."""
    key = func.hashtextextended(_named(name), 0)
    await tx.execute(select(func.pg_advisory_lock_shared(key)))
    await _end_when_silent(tx)


async def _end_when_silent(tx: Transaction) -> None:
    silence = f"{SILENCE.total_seconds():.0f}s"
    await tx.execute(select(func.set_config("idle_session_timeout", silence, False)))


_LED = text("""
SELECT EXISTS (
    SELECT FROM pg_locks, hashtextextended(:name, 0) AS key
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) = key
)
""")


async def is_led(tx: Transaction, name: str) -> bool:
    """Whether any process leads now."""
    return bool(await tx.scalar(_LED, {"name": _named(name)}))


def _named(name: str) -> str:
    return f"leader/{name}"
