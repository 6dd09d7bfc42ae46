"""Events: publishing them again, for whoever has lost what was made of them."""

from domain.access import SYSTEM
from domain.event import Topic
from domain.ranking import CONSUMER as RANKING
from service.desk import Desk
from store import inbox, outbox, ranking


async def republish(desk: Desk, topic: Topic) -> int:
    """Every event of this topic, oldest first, under its old id; returns how many."""
    async with desk.database.begin(SYSTEM) as tx:
        return await outbox.republish(tx, topic)


async def rebuild_ranking(desk: Desk) -> int:
    """Forget the ranking and have every completed order published again; returns how many."""
    async with desk.database.begin(SYSTEM) as tx:
        await inbox.forget(tx, RANKING)
        await ranking.forget(tx)
        return await outbox.republish(tx, Topic.ORDER_COMPLETED)
