"""Asking what may be down: nobody waits for long, and that it says nothing is an answer too."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Silence:
    """Why there is no answer, in words."""

    why: str


async def asked(asking: Awaitable[Answer], seconds: float) -> Answer | Silence:
    """The answer, or why there is none. Whatever goes wrong is an answer about the one who was
    asked: who asks after many of them wants to hear of the others all the same."""
    try:
        async with asyncio.timeout(seconds):
            return await asking
    except TimeoutError:
        return Silence(f"no answer within {seconds:g} s")
    except ValueError:
        # Whoever cannot read an address quotes it, with the password in it.
        return Silence("its address cannot be read")
    except Exception as error:
        return Silence(in_short(error))


def in_short(error: Exception) -> str:
    """The first line of what it says, without what wraps it."""
    said = str(getattr(error, "orig", None) or error).strip()
    said = said.rpartition("<class")[2].partition(">: ")[2] or said
    return (said.splitlines() or [type(error).__name__])[0].rstrip(".")
