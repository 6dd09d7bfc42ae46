"""Who is asking, and what they may do. Deny by default: whoever asks has the roles that are named
here, and no other."""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import NotFound


class Role(StrEnum):
    CUSTOMER = "customer"
    SERVICE = "service"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Source:
    """Where a request came from, as far as it says; kept with what it did."""

    ip: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None
    request_id: str | None = None


NOWHERE = Source()
"""Of whoever sits at the machine itself, and of what no request set going."""


@dataclass(frozen=True)
class Access:
    """`caller` scopes idempotency keys and is written down with decisions; `customer_id` is who is
    acted for by default."""

    caller: str
    roles: frozenset[Role]
    customer_id: str
    source: Source = NOWHERE

    def require(self, customer_id: str) -> None:
        """Another customer's things do not exist for a customer: raises `NotFound`."""
        if not self.roles & {Role.SERVICE, Role.OPERATOR} and customer_id != self.customer_id:
            raise NotFound("There is no such thing.")

    def named(self, customer_id: str | None) -> str:
        """Whom to act for: the customer that is named, else the caller's own; raises `NotFound`."""
        owner = customer_id or self.customer_id
        self.require(owner)
        return owner


class Actor(StrEnum):
    """What kind of somebody acts on the database."""

    SYSTEM = "system"
    PERSON = "person"
    CUSTOMER = "customer"


@dataclass(frozen=True)
class Scope:
    """For whom a transaction acts. It will say which rows can be seen; today every caller is the
    system, which sees all."""

    actor: Actor
    id: str = ""


SYSTEM = Scope(Actor.SYSTEM)
OPERATOR = Access("operator", frozenset({Role.OPERATOR}), "")
"""Whoever sits at the command line of an installation."""
