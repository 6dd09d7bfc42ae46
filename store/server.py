"""What PostgreSQL says of itself."""

from sqlalchemy import func, select

from store.database import Transaction


async def version(tx: Transaction) -> str:
    """As `18.6`, without the words that distributions add."""
    said = await tx.scalar(select(func.current_setting("server_version")))
    return str(said).split()[0]
