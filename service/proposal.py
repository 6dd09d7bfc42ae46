"""Large decisions: the first person proposes, the second carries out, and both are named."""

from typing import TypeVar

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import AlreadyDecided, NotFound, SecondPersonNeeded
from domain.event import JSON
from domain.proposal import (
    ALONE,
    ASKS,
    Agreed,
    Decision,
    Proposal,
    ProposalStatus,
    Step,
    agreed,
    step,
    written,
)
from service.desk import Desk
from store import audit, clock, proposal
from store.database import Transaction
from store.identifier import new_id

T = TypeVar("T")


async def decided(
    tx: Transaction,
    desk: Desk,
    access: Access,
    decision: Decision | None,
    reason: str | None = None,
) -> Agreed | Proposal:
    """Whether the decision may be carried out, in this very transaction; else the proposal that
    waits for somebody else, which is to be committed: see `carried_out`. `decision` is None where
    one person is enough."""
    if decision is None:
        return ALONE
    await proposal.lock(tx, decision)
    latest = await proposal.latest(tx, decision)
    what = step(latest, access.caller, await clock.now(tx))
    if latest is None or what is Step.PROPOSE:
        return await _proposed(tx, desk, access, decision, reason)
    if what is Step.WAIT:
        return latest
    if what is Step.SECOND:
        # Its time may end in this moment.
        if not await proposal.end(tx, latest.id, ProposalStatus.SECONDED, access.caller):
            return await _proposed(tx, desk, access, decision, reason)
        await _note(tx, access, Action.DECISION_SECONDED, latest, reason)
        return Agreed((latest.proposed_by, access.caller))
    return agreed(latest)


async def begun(tx: Transaction, decision: Decision) -> Agreed:
    """Who decided what was let through before: its call may be repeated for ever."""
    return agreed(await proposal.latest(tx, decision))


async def _proposed(
    tx: Transaction, desk: Desk, access: Access, decision: Decision, reason: str | None
) -> Proposal:
    until = await clock.now(tx) + desk.terms.second.holds
    made = await proposal.add(tx, new_id(), decision, access.caller, reason, until)
    await _note(tx, access, Action.DECISION_PROPOSED, made, reason)
    return made


async def _note(
    tx: Transaction, access: Access, what: Action, of: Proposal, reason: str | None
) -> None:
    whose = of.content.get("customerId")
    after: dict[str, JSON] = {"kind": of.kind, "target": of.target_id, "what": of.what}
    if what is not Action.DECISION_PROPOSED:
        after["proposedBy"] = of.proposed_by
    customer_id = whose if isinstance(whose, str) else None
    entry = Entry(
        actor(access), what, Noun.PROPOSAL, of.id, customer_id, after=after, reason=reason
    )
    await audit.append(tx, entry)


def carried_out(done: T | Proposal) -> T:
    """What was done; to be asked after the commit. Raises `SecondPersonNeeded` where it waits."""
    if isinstance(done, Proposal):
        raise SecondPersonNeeded(done.words, written(done))
    return done


async def waiting(desk: Desk, after: str | None, limit: int) -> list[Proposal]:
    """Those that wait for a second person, oldest first."""
    async with desk.database.statements(SYSTEM) as tx:
        return await proposal.waiting(tx, after, limit)


async def withdraw(desk: Desk, access: Access, id_: str, reason: str) -> None:
    """Nobody can agree to it any more: whoever proposed it, or could second it, says so.

    Raises `NotFound`, `InsufficientRole`, and `AlreadyDecided` where it has ended otherwise.
    """
    async with desk.database.begin(access.scope) as tx:
        found = await proposal.find(tx, id_)
        if found is None:
            raise NotFound(f"There is no proposal {id_}.")
        access.to(ASKS[found.kind])
        if await proposal.end(tx, id_, ProposalStatus.WITHDRAWN, access.caller):
            await _note(tx, access, Action.DECISION_WITHDRAWN, found, reason)
            return
        stands = await proposal.find(tx, id_) or found
    if stands.status is ProposalStatus.PROPOSED:
        raise AlreadyDecided("Its time is over: nobody has agreed.")
    if stands.status is ProposalStatus.SECONDED:
        raise AlreadyDecided(f"{stands.ended_by} has agreed to it.")
