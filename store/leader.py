"""One of all processes: who holds the lock that this is about, for as long as its connection lasts.

Not to the commit: whoever leads does so for hours, and no transaction is open meanwhile.
"""

from datetime import timedelta

from sqlalchemy import func, select

from store.database import Transaction

SILENCE = timedelta(minutes=1)
"""After so long without a statement PostgreSQL ends the leader's session: a process that is frozen,
or whose machine has gone, leads no longer."""


async def lead(tx: Transaction, name: str) -> bool:
    """Whether this connection leads from now on; False while another one does. `tx` is one of
    `Database.statements` that goes to nobody else afterwards: what is said here is of its session.
    """
    key = func.hashtextextended(f"leader/{name}", 0)
    if not await tx.scalar(select(func.pg_try_advisory_lock(key))):
        return False
    silence = f"{SILENCE.total_seconds():.0f}s"
    await tx.execute(select(func.set_config("idle_session_timeout", silence, False)))
    return True
