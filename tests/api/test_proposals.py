"""Large decisions take two persons: every decision, in every order of who calls."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import Request
from sqlalchemy import text

from api import access
from api.app import create_app
from domain.access import Access
from domain.roles import Role
from gateway.client import PaymentGateway
from runtime.settings import Settings
from store.database import Database
from tests.api.documents import problem_of, refused
from tests.api.settling import (
    NO_MONEY,
    PERIOD,
    invoiced,
    plan,
    price,
    use,
    waiting_draft,
    world_of_its_own,
)
from tests.conftest import served
from tests.support.audit import trail
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.persons import FIRST, SECOND, THIRD, asks

NEEDED = "second-person-needed"
LATE = {"already-decided", "already-final", "not-in-review"}
NOBODY_ALONE: Mapping[str, object] = {
    "second_person_approvals": {},
    "second_person_write_offs": {},
    "second_person_replays": 0,
}


@dataclass(frozen=True)
class Case:
    """A decision as a call, and another one of the same kind; `done` counts how often it was
    carried out."""

    method: str
    path: str
    body: dict[str, Any] | None
    other: tuple[str, dict[str, Any] | None]
    action: str
    done: Callable[[], Awaitable[int]]
    role: Role
    """One that may not."""


@pytest.fixture
def strict(settings: Settings) -> Settings:
    return settings.model_copy(update=dict(NOBODY_ALONE))


@pytest.fixture
async def api_of_two(strict: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Where nobody decides anything large alone; `X-Role` takes every other role away."""
    async with served(with_roles(strict)) as http:
        yield http


def with_roles(settings: Settings) -> Any:
    app = create_app(settings)

    def caller(request: Request) -> Access:
        who = request.headers["X-Customer-Id"]
        role = request.headers.get("X-Role")
        roles = frozenset(Role) if role is None else frozenset({Role(role)})
        return Access(f"dev/{who}", roles, who)

    app.dependency_overrides[access.caller] = caller
    return app


async def entries(billing: Billing, action: str, target_id: str) -> int:
    return len(await trail(billing.database, action=action, target_id=target_id))


async def an_approval(billing: Billing) -> Case:
    draft, other = await waiting_draft(billing), await waiting_draft(await another(billing))
    path = "/api/v1/invoices/{}/approve"
    return Case(
        "POST",
        path.format(draft["id"]),
        {"reason": "as agreed"},
        (path.format(other["id"]), {"reason": "as agreed"}),
        "INVOICE_APPROVED",
        lambda: entries(billing, "INVOICE_APPROVED", draft["id"]),
        Role.ADMIN,
    )


async def a_write_off(billing: Billing) -> Case:
    others = await another(billing)
    for each in (billing, others):
        await each.add_card(NO_MONEY)
    owed, other = await invoiced(billing), await invoiced(others)
    path = "/api/v1/invoices/{}/write-off"
    return Case(
        "POST",
        path.format(owed["id"]),
        {"reason": "bankrupt"},
        (path.format(other["id"]), {"reason": "bankrupt"}),
        "INVOICE_WRITTEN_OFF",
        lambda: entries(billing, "INVOICE_WRITTEN_OFF", owed["id"]),
        Role.ADMIN,
    )


async def a_version(billing: Billing) -> Case:
    code = await plan(billing)
    path = f"/api/v1/pricing-plans/{code}"
    cheaper = {"currency": "KRW", "flatFee": 1}

    async def done() -> int:
        return len((await billing.get(path))["versions"]) - 1

    other = (path, {**cheaper, "flatFee": 2})
    return Case("PUT", path, cheaper, other, "PLAN_VERSION_ADDED", done, Role.SERVICE)


async def a_withdrawal(billing: Billing) -> Case:
    code, other = await plan(billing), await plan(await another(billing))
    path = "/api/v1/pricing-plans/{}"
    return Case(
        "DELETE",
        path.format(code),
        None,
        (path.format(other), None),
        "PLAN_WITHDRAWN",
        lambda: entries(billing, "PLAN_WITHDRAWN", code),
        Role.SERVICE,
    )


async def an_assignment(billing: Billing) -> Case:
    code = await plan(billing)
    to = f"P-{uuid4().hex}"
    await price(billing, to)
    path = f"/api/v1/customers/{billing.customer_id}"

    async def done() -> int:
        return int((await billing.get(path))["planCode"] != code)

    other = (path, {"planCode": to, "dueDays": 30})
    return Case("PUT", path, {"planCode": to}, other, "PLAN_ASSIGNED", done, Role.FINANCE)


CASES = (an_approval, a_write_off, a_version, a_withdrawal, an_assignment)


async def another(billing: Billing) -> Billing:
    return await Billing.for_new_customer(billing.api, billing.simulator, billing.database)


async def needs(answer: httpx2.Response) -> dict[str, Any]:
    """The proposal that the answer names."""
    refused(answer, 409, NEEDED)
    named: dict[str, Any] = answer.json()["proposal"]
    assert {"id", "what", "proposedBy", "holdsUntil", "content"} <= named.keys()
    return named


@dataclass(frozen=True)
class Table:
    """One decision, asked for by several persons."""

    http: httpx2.AsyncClient
    owner: Database
    billing: Billing
    case: Case

    async def call(self, who: str) -> httpx2.Response:
        case = self.case
        return await asks(self.http, who, case.method, case.path, case.body)

    async def withdraw(self, who: str, id_: str, reason: str) -> httpx2.Response:
        where = f"/api/v1/proposals/{id_}?reason={reason}"
        return await asks(self.http, who, "DELETE", where)

    async def listed(self) -> list[str]:
        found: list[str] = []
        while True:
            after = f"&after={found[-1]}" if found else ""
            answer = await asks(self.http, FIRST, "GET", f"/api/v1/proposals?size=200{after}")
            if not (ids := [each["id"] for each in answer.json()["items"]]):
                return found
            found += ids

    async def the_first_proposes_and_again_it_is_the_same(self) -> str:
        first = await self.call(FIRST)
        proposal = await needs(first)
        assert proposal["proposedBy"] == f"dev/{FIRST}"
        assert (await self.call(FIRST)).content == first.content
        assert proposal["id"] in await self.listed()
        noted = await trail(self.billing.database, target_id=proposal["id"])
        assert [each.action for each in noted] == ["DECISION_PROPOSED"]
        return str(proposal["id"])

    async def who_may_not_decide_it_may_neither_agree_nor_withdraw(self, id_: str) -> None:
        case = self.case
        who = {"X-Customer-Id": SECOND, "X-Role": case.role, "Idempotency-Key": uuid4().hex}
        denied = await self.http.request(case.method, case.path, json=case.body, headers=who)
        refused(denied, 403, "insufficient-role")
        withdrawn = await self.http.delete(f"/api/v1/proposals/{id_}?reason=no", headers=who)
        refused(withdrawn, 403, "insufficient-role")

    async def another_content_is_another_proposal(self, id_: str) -> None:
        path, body = self.case.other
        different = await needs(await asks(self.http, SECOND, self.case.method, path, body))
        assert different["id"] != id_
        assert different["proposedBy"] == f"dev/{SECOND}"

    async def when_its_time_is_over_the_second_is_a_first(self, id_: str) -> str:
        async with self.owner.engine.begin() as tx:
            over = "UPDATE proposals SET holds_until = now() WHERE id = CAST(:id AS uuid)"
            await tx.execute(text(over), {"id": id_})
        refused(await self.withdraw(FIRST, id_, "late"), 409, "already-decided")
        anew = await needs(await self.call(SECOND))
        assert anew["proposedBy"] == f"dev/{SECOND}"
        return str(anew["id"])

    async def once_it_is_withdrawn_nobody_can_agree(self, id_: str) -> str:
        """By whoever could have been the second; again it is harmless."""
        for _ in range(2):
            assert (await self.withdraw(FIRST, id_, "not+now")).status_code == 204
        ends = await trail(self.billing.database, target_id=id_, action="DECISION_WITHDRAWN")
        assert [(each.actor_id, each.reason) for each in ends] == [(f"dev/{FIRST}", "not now")]
        third = await needs(await self.call(FIRST))
        assert third["id"] != id_
        assert id_ not in await self.listed()
        return str(third["id"])

    async def several_who_agree_at_once_carry_it_out_once(self, id_: str) -> None:
        assert await self.case.done() == 0
        persons = (SECOND, THIRD, "person-four", "person-five")
        before = {each.id for each in await trail(self.billing.database, action=self.case.action)}
        answers = await asyncio.gather(*(self.call(each) for each in persons))
        assert any(each.is_success for each in answers), [each.text for each in answers]
        for each in answers:
            assert each.is_success or problem_of(each) in LATE
        assert await self.case.done() == 1
        [seconded] = await trail(self.billing.database, target_id=id_, action="DECISION_SECONDED")
        decided = await trail(self.billing.database, action=self.case.action)
        both = [f"dev/{FIRST}", seconded.actor_id]
        assert (
            sum(
                (each.after or {}).get("persons") == both
                for each in decided
                if each.id not in before
            )
            == 1
        )
        assert id_ not in await self.listed()
        refused(await self.withdraw(FIRST, id_, "late"), 409, "already-decided")


@pytest.mark.parametrize("prepare", CASES, ids=lambda each: each.__name__)
async def test_a_large_decision_takes_two_persons(
    billing: Billing,
    api_of_two: httpx2.AsyncClient,
    owner: Database,
    settlements: None,
    prepare: Callable[[Billing], Awaitable[Case]],
) -> None:
    """Nothing is carried out before the last row."""
    table = Table(api_of_two, owner, billing, await prepare(billing))
    first = await table.the_first_proposes_and_again_it_is_the_same()
    await table.who_may_not_decide_it_may_neither_agree_nor_withdraw(first)
    await table.another_content_is_another_proposal(first)
    second = await table.when_its_time_is_over_the_second_is_a_first(first)
    third = await table.once_it_is_withdrawn_nobody_can_agree(second)
    await table.several_who_agree_at_once_carry_it_out_once(third)


async def test_what_nobody_can_agree_to_any_more_is_not_listed(
    billing: Billing, api_of_two: httpx2.AsyncClient, settlements: None
) -> None:
    """A draft that was rejected, and an invoice that was paid outside, while a decision waits."""
    await billing.add_card(NO_MONEY)
    owed, draft = await invoiced(billing), await waiting_draft(await another(billing))
    reason = {"reason": "as agreed"}
    paths = f"/api/v1/invoices/{owed['id']}/write-off", f"/api/v1/invoices/{draft['id']}/approve"
    waits = [await needs(await asks(api_of_two, FIRST, "POST", path, reason)) for path in paths]
    proposed = {each["id"] for each in waits}

    async def listed() -> set[str]:
        before = f"{min(proposed)[:8]}-0000-7000-8000-000000000000"
        first = f"/api/v1/proposals?size=200&after={before}"
        found = (await asks(api_of_two, FIRST, "GET", first)).json()["items"]
        return proposed & {each["id"] for each in found}

    assert await listed() == proposed
    for id_, what in ((owed["id"], "paid-outside"), (draft["id"], "reject")):
        path = f"/api/v1/invoices/{id_}/{what}"
        assert (await asks(api_of_two, FIRST, "POST", path, reason)).status_code == 200

    assert await listed() == set()


async def test_a_replay_of_many_months_takes_two_persons_and_so_does_a_run_that_is_one(
    billing: Billing, strict: Settings, gateways: Mapping[str, PaymentGateway]
) -> None:
    runs = "/api/v1/settlement/runs"
    async with world_of_its_own(billing, strict, gateways["simulator"]) as mine:
        await plan(mine)
        await use(mine, 5, resource_type="POISON")
        assert (await asks(mine.api, FIRST, "POST", runs, {"period": PERIOD})).status_code == 202

        async def over() -> bool:
            found = await mine.get(f"{runs}/{PERIOD}")
            return bool(found["failed"] and found["finishedAt"])

        await eventually(over)
        replay = f"{runs}/{PERIOD}/replay"
        first = await asks(mine.api, FIRST, "POST", replay)
        proposal = await needs(first)
        assert (await asks(mine.api, FIRST, "POST", replay)).content == first.content
        again = await needs(await asks(mine.api, FIRST, "POST", runs, {"period": PERIOD}))
        assert again["id"] == proposal["id"], "a run would settle the same again"
        assert not await trail(mine.database, action="SETTLEMENT_RUN_REPLAYED")

        assert (await asks(mine.api, SECOND, "POST", replay)).status_code == 202
        assert len(await trail(mine.database, action="SETTLEMENT_RUN_REPLAYED")) == 1
        await eventually(over)
        once_more = await asks(mine.api, FIRST, "POST", replay)
        assert once_more.status_code == 202, "what two have agreed to holds for its time"


async def test_what_nobody_has_or_nothing_changes_takes_one_person(
    billing: Billing, api_of_two: httpx2.AsyncClient
) -> None:
    path = f"/api/v1/pricing-plans/P-{uuid4().hex}"
    for fee in (1, 2):
        body = {"currency": "KRW", "flatFee": fee, "effectiveFrom": "2020-01-01T00:00:00Z"}
        assert (await asks(api_of_two, FIRST, "PUT", path, body)).status_code == 201
    customer = f"/api/v1/customers/{billing.customer_id}"
    terms = {"planCode": path.rpartition("/")[2], "planFrom": "2020-01-01T00:00:00Z"}
    for _ in range(2):
        assert (await asks(api_of_two, FIRST, "PUT", customer, terms)).status_code == 200
    assert (await asks(api_of_two, FIRST, "PUT", path, body)).status_code == 200


async def test_a_key_never_keeps_that_a_second_person_is_needed(
    billing: Billing, api_of_two: httpx2.AsyncClient, owner: Database, settlements: None
) -> None:
    """The first one's key is free until it decides; the second one's answer is kept for good."""
    draft = await waiting_draft(billing)
    path, body = f"/api/v1/invoices/{draft['id']}/approve", {"reason": "as agreed"}
    keys = {FIRST: uuid4().hex, SECOND: uuid4().hex}

    async def call(who: str) -> httpx2.Response:
        return await asks(api_of_two, who, "POST", path, body, keys[who])

    proposal = await needs(await call(FIRST))
    approved = await call(SECOND)
    late = await call(FIRST)
    async with owner.engine.begin() as tx:
        await tx.execute(text("ALTER TABLE proposals DISABLE TRIGGER final_stays"))
        over = "UPDATE proposals SET holds_until = now() WHERE id = CAST(:id AS uuid)"
        await tx.execute(text(over), {"id": proposal["id"]})
        await tx.execute(text("ALTER TABLE proposals ENABLE ALWAYS TRIGGER final_stays"))
    again = await call(SECOND)

    assert approved.status_code == 200, approved.text
    refused(late, 409, "not-in-review")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content == approved.content


async def test_what_two_have_agreed_to_is_handed_over_when_temporal_is_back(
    billing: Billing, strict: Settings, api_of_two: httpx2.AsyncClient, settlements: None
) -> None:
    """The decision is kept, its effect is not there: the same call again has it."""
    draft = await waiting_draft(billing)
    path, body, key = f"/api/v1/invoices/{draft['id']}/approve", {"reason": "fine"}, uuid4().hex
    await needs(await asks(api_of_two, FIRST, "POST", path, body))
    dead = strict.model_copy(update={"temporal_address": "127.0.0.1:9", "api_wait_seconds": 0.5})
    async with served(with_roles(dead)) as without_temporal:
        lost = await asks(without_temporal, SECOND, "POST", path, body, key)

    assert lost.status_code == 503, lost.text
    assert not await entries(billing, "INVOICE_APPROVED", draft["id"])
    assert (await asks(api_of_two, SECOND, "POST", path, body, key)).status_code == 200
    [noted] = await trail(billing.database, action="INVOICE_APPROVED", target_id=draft["id"])
    assert (noted.after or {})["persons"] == [f"dev/{FIRST}", f"dev/{SECOND}"]


async def test_there_is_no_such_proposal(api_of_two: httpx2.AsyncClient) -> None:
    missing = f"/api/v1/proposals/{uuid4()}"
    refused(await asks(api_of_two, FIRST, "DELETE", f"{missing}?reason=x"), 404, "not-found")
    for query in ("", "?reason=", "?reason=+", f"?reason={'x' * 501}"):
        answer = await asks(api_of_two, FIRST, "DELETE", f"{missing}{query}")
        refused(answer, 400, "invalid-request")
