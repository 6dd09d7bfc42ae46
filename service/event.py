"""Events: publishing them again, for whoever has lost what was made of them."""

from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.event import Topic
from domain.ranking import CONSUMER as RANKING
from service.desk import Desk
from store import audit, inbox, outbox, ranking


async def republish(desk: Desk, access: Access, topic: Topic) -> int:
    """Every event of this topic, oldest first, under its old id; returns how many."""
    async with desk.database.begin(access.scope) as tx:
        count = await outbox.republish(tx, topic)
        await audit.append(tx, _republished(access, topic, count))
    return count


async def rebuild_ranking(desk: Desk, access: Access) -> int:
    """Forget the ranking and have every completed order published again; returns how many."""
    async with desk.database.begin(access.scope) as tx:
        await inbox.forget(tx, RANKING)
        await ranking.forget(tx)
        count = await outbox.republish(tx, Topic.ORDER_COMPLETED)
        forgotten = Entry(actor(access), Action.RANKING_REBUILT, Noun.RANKING, RANKING)
        await audit.append(tx, forgotten, _republished(access, Topic.ORDER_COMPLETED, count))
    return count


def _republished(access: Access, topic: Topic, count: int) -> Entry:
    what = Action.EVENTS_REPUBLISHED
    return Entry(actor(access), what, Noun.TOPIC, topic, after={"events": count})
