"""The keys that our own issuer signs tokens with."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, insert, select, update

from domain.signing_key import SigningKey
from store.clock import NOW
from store.database import Transaction
from store.key_ring import KeyRing
from store.tables import auth_signing_keys


async def lock(tx: Transaction) -> None:
    """To the commit nobody else adds or withdraws one."""
    name = func.hashtextextended("auth-signing-keys", 0)
    await tx.execute(select(func.pg_advisory_xact_lock(name)))


async def everything(tx: Transaction) -> list[SigningKey]:
    """Oldest first, without their private halves."""
    columns = auth_signing_keys.c
    query = select(
        columns.id, columns.public, columns.created_at, columns.signs_from, columns.withdrawn_at
    ).order_by(columns.signs_from, columns.id)
    return [SigningKey(*row) for row in await tx.execute(query)]


async def private(tx: Transaction, key_id: str, keys: KeyRing) -> str:
    """The private half, in PEM. Raises `UnknownKey` and `Tampered`."""
    query = select(auth_signing_keys.c.private).where(auth_signing_keys.c.id == key_id)
    return keys.open_text((await tx.execute(query)).scalar_one(), _belongs_to(key_id))


async def add(
    tx: Transaction,
    key_id: str,
    public: Mapping[str, str],
    private_pem: str,
    signs_from: datetime,
    keys: KeyRing,
) -> None:
    """Its private half is sealed here."""
    row = insert(auth_signing_keys).values(
        id=key_id,
        public=dict(public),
        private=keys.seal_text(private_pem, _belongs_to(key_id)),
        signs_from=signs_from,
    )
    await tx.execute(row)


async def withdraw(tx: Transaction, key_ids: Sequence[str]) -> None:
    """They sign no more, and nothing that they have signed is vouched for."""
    gone = update(auth_signing_keys).where(auth_signing_keys.c.id.in_(key_ids))
    await tx.execute(gone.values(withdrawn_at=NOW))


def _belongs_to(key_id: str) -> str:
    return f"auth_signing_keys/private/{key_id}"
