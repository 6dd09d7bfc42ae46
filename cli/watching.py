"""`--watch`: the same again and again, for whoever looks on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Never, TypeVar

from rich.console import Console

from cli.refused import Refused
from cli.words import at, remark

LOOK_SECONDS = 2.0

Seen = TypeVar("Seen")


async def watch(look: Callable[[], Awaitable[Seen]], tell: Callable[[Seen], None]) -> Never:
    """Look again until Ctrl-C; an API that is away for a moment is looked for again."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            seen = await look()
        except Refused as refusal:
            remark(f"{refusal} Looking again ...", style="red")
            continue
        Console().clear()
        remark(f"{at(datetime.now(UTC))}, every {LOOK_SECONDS:g} s until Ctrl-C")
        tell(seen)
