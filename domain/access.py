"""Who is asking, for whom, and what they may do (`domain.roles`)."""

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.errors import InsufficientRole, InsufficientScope, InvalidRequest, NotFound
from domain.roles import RULES, Action, Role, TokenScope


@dataclass(frozen=True)
class Source:
    """Where a request came from, as far as it says; kept with what it did."""

    ip: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None
    request_id: str | None = None


NOWHERE = Source()
"""Of whoever sits at the machine itself, and of what no request set going."""


class Actor(StrEnum):
    """What kind of somebody acts on the database."""

    SYSTEM = "system"
    CUSTOMER = "customer"


@dataclass(frozen=True)
class Scope:
    """For whom a transaction acts: the system sees all rows, a customer those of its own `id`."""

    actor: Actor
    id: str = ""


SYSTEM = Scope(Actor.SYSTEM)


@dataclass(frozen=True)
class Access:
    """`caller` scopes idempotency keys and is written down with decisions; `customer_id` is who is
    acted for by default. `scopes`: what the token is limited to, None without such a limit.
    `until`: when it ends, in seconds since 1970."""

    caller: str
    roles: frozenset[Role]
    customer_id: str
    scopes: frozenset[TokenScope] | None = None
    token_id: str = ""
    until: float | None = None
    session_id: str = ""
    source: Source = NOWHERE

    def to(self, action: Action) -> "Access":
        """The same caller with only those roles that may do this.

        Somebody who is a customer and something else besides does what only customers may do for
        itself alone. Raises `InsufficientRole` or `InsufficientScope`.
        """
        rule = RULES[action]
        roles = self.roles & rule.roles
        if not roles:
            needed = " or ".join(role for role in Role if role in rule.roles)
            raise InsufficientRole(f"{action} needs the role {needed}.")
        if self.scopes is not None and rule.scope is not None and rule.scope not in self.scopes:
            raise InsufficientScope(f"{action} needs the scope {rule.scope}.", rule.scope)
        return replace(self, roles=roles)

    @property
    def for_everybody(self) -> bool:
        """Whether the things of all customers are there for it."""
        return bool(self.roles - {Role.CUSTOMER})

    @property
    def scope(self) -> Scope:
        """Which rows are there for it: whoever is a customer only acts as one on the database too,
        which is a second net below `require`."""
        return SYSTEM if self.for_everybody else Scope(Actor.CUSTOMER, self.customer_id)

    def require(self, customer_id: str) -> None:
        """Another customer's things do not exist for a customer: raises `NotFound`."""
        if not self.for_everybody and customer_id != self.customer_id:
            raise NotFound("There is no such thing.")

    def whose(self, customer_id: str | None) -> str | None:
        """Whose things to list: a customer's its own, for others all unless they name one."""
        if customer_id is None and self.for_everybody:
            return None
        return self.named(customer_id)

    def named(self, customer_id: str | None) -> str:
        """Whom to act for: the customer that is named, else the caller's own; raises `NotFound`, or
        `InvalidRequest` where there is neither."""
        owner = customer_id or self.customer_id
        self.require(owner)
        if not owner:
            raise InvalidRequest("customerId: is needed, because the caller is no customer.")
        return owner


STAFF = frozenset({Role.OPERATOR, Role.FINANCE, Role.ADMIN})


def at_the_machine(user: str) -> Access:
    """Whoever sits at a machine of the installation itself, by the name that it has for them: no
    token says who that is, and nobody could refuse them anything."""
    return Access(f"os/{user}", STAFF, "")
