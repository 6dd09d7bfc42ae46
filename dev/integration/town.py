"""What every step of the integration demo uses: the stage, and everybody who lives around it."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx2

from dev.demo.shop import Shop
from dev.demo.stage import Stage
from dev.demo.verdict import expect
from dev.integration.installation import Ports
from dev.integration.logged_in import LoggedIn
from dev.integration.mailbox import Mailbox
from dev.integration.notifier import address_of
from domain.access import at_the_machine
from domain.roles import Role
from service import user
from service.password import Passwords
from service.realm import Realm
from store.database import connect

OPERATOR = "operator"


@dataclass(kw_only=True)
class Town(Stage):
    """`shop` acts as the operator. `clients` holds the connections of all who log in, `logins` what
    they show, `shops` the API as they see it; `stranger` shows nothing. `told`: aggregates whose
    events customers hear of."""

    ports: Ports
    mailbox: Mailbox
    stranger: httpx2.AsyncClient
    gateway: httpx2.AsyncClient
    clients: AsyncExitStack
    logins: dict[str, LoggedIn] = field(default_factory=dict)
    shops: dict[str, Shop] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    async def let_in(self, name: str, role: Role, customer_id: str | None = None) -> Shop:
        """Make somebody at our own issuer; returns the API as they see it."""
        password = secrets.token_urlsafe(15)
        pool = connect(self.stack.endpoints.auth_database_url, pool_size=1)
        try:
            realm, who = Realm(pool, self.desk.keys), at_the_machine("integration-demo")
            await user.create(realm, who, Passwords(), name, password, {role}, customer_id)
        finally:
            await pool.dispose()
        shown = self.logins[name] = LoggedIn(self.ports.issuer, name, password)
        api = httpx2.AsyncClient(base_url=self.stranger.base_url, auth=shown, timeout=None)
        await self.clients.enter_async_context(api)
        self.shops[name] = Shop(api, self.gateway)
        return self.shops[name]

    async def mails(self, customer_id: str, topic: str, count: int = 1) -> list[str]:
        """The subjects of a customer's mails about a topic, once there are so many and no more."""

        async def there() -> list[str]:
            mails = self.mailbox.to(address_of(customer_id))
            found = [str(mail["Subject"]) for mail in mails if mail["X-Event"] == topic]
            return found if len(found) >= count else []

        what = f"mails to {customer_id} about {topic}"
        found = await self.until(f"{count} {what}", there)
        expect(what, len(found), count)
        return found
