"""Dead letters: what could not be done, and what no consumer could take."""

from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.dead_letter import DeadLetter
from domain.errors import NotFound
from domain.message import DeadMessage
from service.audit import viewed
from service.desk import Desk
from store import audit, dead_letter, dead_message
from store.database import Transaction

WAITING = "waiting"
"""What somebody looks at who looks at all of them."""


async def waiting(desk: Desk, access: Access) -> tuple[list[DeadLetter], list[DeadMessage]]:
    """What waits for an operator, oldest first: invoices that nobody pays, then messages."""
    await viewed(desk, access, Noun.DEAD_LETTER, WAITING, None)
    async with desk.database.read(access.scope) as tx:
        return await dead_letter.waiting(tx), await dead_message.waiting(tx)


async def resolve(desk: Desk, access: Access, id_: str) -> bool:
    """Note that somebody has seen to it; False when somebody had before. Raises `NotFound`."""
    async with desk.database.begin(access.scope) as tx:
        if await dead_letter.resolve(tx, id_) or await dead_message.resolve(tx, id_):
            who, what = actor(access), Action.DEAD_LETTER_RESOLVED
            await audit.append(tx, Entry(who, what, Noun.DEAD_LETTER, id_))
            return True
        if not await _is_known(tx, id_):
            raise NotFound(f"There is no dead letter {id_}.")
    return False


async def _is_known(tx: Transaction, id_: str) -> bool:
    return bool(await dead_letter.find(tx, id_) or await dead_message.find(tx, id_))
