"""Who can log in at a secure `make dev`: one of each kind, with a password that nobody chose."""

import secrets
from dataclasses import dataclass

from dev.seed import CUSTOMERS
from domain.access import at_the_machine
from domain.errors import NameTaken
from domain.roles import Role
from service import user
from service.password import Passwords
from service.realm import Realm
from store import database
from store.key_ring import KeyRing

PEOPLE = {
    "admin": (Role.ADMIN, None),
    "operator": (Role.OPERATOR, None),
    "finance": (Role.FINANCE, None),
    "demo": (Role.CUSTOMER, CUSTOMERS[0]),
    "acme-corp": (Role.CUSTOMER, CUSTOMERS[1]),
}
"""Role, and whose things they see, by the name that they log in with."""
PASSWORD_BYTES = 15


@dataclass(frozen=True)
class Newcomer:
    """`password` is kept nowhere else."""

    name: str
    role: Role
    password: str


async def make(database_url: str, keys: KeyRing) -> list[Newcomer]:
    """Those who are missing; whoever is there keeps their password."""
    pool = database.connect(database_url, pool_size=1)
    passwords, made = Passwords(), []
    try:
        realm = Realm(pool, keys)
        for name, (role, customer_id) in PEOPLE.items():
            newcomer = Newcomer(name, role, secrets.token_urlsafe(PASSWORD_BYTES))
            try:
                await user.create(
                    realm,
                    at_the_machine("dev"),
                    passwords,
                    name,
                    newcomer.password,
                    {role},
                    customer_id,
                )
            except NameTaken:
                continue
            made.append(newcomer)
    finally:
        await pool.dispose()
    return made
