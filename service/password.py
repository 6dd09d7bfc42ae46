"""Passwords, as argon2 keeps them: each look at one costs 64 MiB and a large part of a second, and
that is its purpose. So few are looked at together, and few may wait."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import Counter
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from service.overload import Overloaded

AT_ONCE = 2
WAITING = 20
"""So many log-ins wait for their turn; whoever comes then is told to come again."""

HASHED = Counter("billing_password_hashes", "Passwords that were hashed, to keep or to compare.")

_NOBODYS = "nobody has this password"

Result = TypeVar("Result")


class Passwords:
    """Of one process."""

    def __init__(self) -> None:
        self._hash = PasswordHash((Argon2Hasher(),))
        self.turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._starting = asyncio.Lock()
        self._nobodys: str | None = None

    async def start(self) -> None:
        """Before the first log-in, which would otherwise take longer for somebody who is nobody."""
        async with self._starting:
            if self._nobodys is None:
                self._nobodys = await self.hashed(_NOBODYS)

    def require_room(self) -> None:
        """Raises `Overloaded` where too many wait already."""
        if self._waiting >= WAITING:
            raise Overloaded

    async def hashed(self, password: str) -> str:
        return await self._in_turn(lambda: self._hash.hash(password))

    async def matches(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """Whether it is this one, and what to keep instead where that was hashed as nobody does any
        more. None is never matched, and takes as long."""
        await self.start()
        with_what = kept if kept is not None else self._nobodys
        assert with_what is not None
        good, better = await self._in_turn(lambda: self._compared(password, with_what))
        return (good, better) if kept is not None else (False, None)

    def _compared(self, password: str, kept: str) -> tuple[bool, str | None]:
        try:
            return self._hash.verify_and_update(password, kept)
        except PwdlibError:  # it is no hash that we know
            return False, None

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        """In a thread; raises `Overloaded`."""
        self.require_room()
        self._waiting += 1
        try:
            async with self.turns:
                HASHED.inc()
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1
