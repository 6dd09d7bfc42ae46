"""How much work is under way at a time: what is too much is refused before anything of it is done.

Work takes its place when it first asks the database, and keeps it to its end, also while it waits
for a workflow. Whoever was let in is not refused later.
"""

from contextlib import AbstractAsyncContextManager

from domain.access import Scope
from store.database import Database, Transaction


class Overloaded(Exception):
    """So much is under way that this is not even begun: nothing was done, come again in a moment.

    Not a `Rejected`: nothing is wrong with what was asked for.
    """


class Work:
    """So much at a time, and nobody waits to be let in."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._under_way = 0

    def enter(self) -> None:
        """Raises `Overloaded` for whoever is too many."""
        if self._under_way >= self._at_once:
            raise Overloaded
        self._under_way += 1

    def leave(self) -> None:
        self._under_way -= 1


class Turn:
    """A call's place among the work, once it has taken it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._taken = False

    def take(self) -> None:
        """Raises `Overloaded`; again it does nothing."""
        if not self._taken:
            self._work.enter()
            self._taken = True

    def end(self) -> None:
        if self._taken:
            self._work.leave()


class AdmittedDatabase(Database):
    """The database for one call, which takes its turn with its first transaction."""

    def __init__(self, database: Database, turn: Turn) -> None:
        self.engine = database.engine
        self._database = database
        self._turn = turn

    def begin(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.begin(scope)

    def read(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.read(scope)

    def statements(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        self._turn.take()
        return self._database.statements(scope)
