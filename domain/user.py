"""Who may log in at our own issuer, and how often somebody may try to be them."""

import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.errors import InvalidRequest
from domain.event import JSON
from domain.identifier import has_form
from domain.roles import Role

USER_NAME = re.compile(r"^[a-z0-9][a-z0-9._@+-]{0,63}$")
"""In small letters: nobody is two people by a capital."""
MIN_PASSWORD, MAX_PASSWORD = 12, 256
"""In characters. Longer ones would only cost more to read."""

FREE_FAILURES = 4
"""So many wrong passwords mean nothing: people mistype."""
LOCKS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16, 32, 60))
"""How long nobody is let in after each further one. The last one stays: for ever would let anybody
lock out anybody."""
FORGOTTEN_AFTER = timedelta(hours=2)
"""Failures count no more when there was none for so long, a lock not included."""


@dataclass(frozen=True)
class User:
    """`id` is the `sub` of its tokens, for ever; `name` is what it logs in with. What it may do is
    what its roles may; as a customer, with the things of `customer_id` only."""

    id: str
    name: str
    password_hash: str
    roles: frozenset[Role]
    customer_id: str | None
    created_at: datetime
    disabled_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        return self.disabled_at is None

    @property
    def is_admin(self) -> bool:
        """Whether it could still let in others."""
        return self.is_active and Role.ADMIN in self.roles


def check_name(name: str) -> None:
    """Raises `InvalidRequest`."""
    if not has_form(name, USER_NAME):
        raise InvalidRequest(f"name: has the form {USER_NAME.pattern}.")


def check_password(password: str) -> None:
    """Raises `InvalidRequest`, whose words do not quote it."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidRequest(f"password: has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")


def check_roles(roles: Set[Role], customer_id: str | None) -> None:
    """Who is a customer is one of ours, and nobody else names one. Raises `InvalidRequest`."""
    if not roles:
        raise InvalidRequest("roles: somebody without a role may do nothing; name one.")
    if (Role.CUSTOMER in roles) != (customer_id is not None):
        raise InvalidRequest(
            "customerId: is needed for the role customer, and for no other: whose things it sees."
        )


def described(user: User) -> dict[str, JSON]:
    """What the audit trail keeps of somebody: neither the name, a person's, nor a password."""
    roles: list[JSON] = [str(role) for role in Role if role in user.roles]
    return {"roles": roles, "customerId": user.customer_id, "active": user.is_active}


def is_locking(failures: int) -> bool:
    """Whether the last of so many failures locks."""
    return failures > FREE_FAILURES
