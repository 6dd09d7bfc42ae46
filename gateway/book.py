"""A PG's own book: what it says by itself that it took and gave back, payment by payment.

Not every PG can be asked for it; one that can has an implementation here, listed in
`runtime/gateways.py`. The book is never believed more than our ledger: `billing verify` compares.
"""

import asyncio
from collections import defaultdict
from typing import Any, Protocol

import httpx2

from domain.verification import Moved, Moves


class NoBook(Exception):
    """The PG does not show its book just now; the text is a sentence."""


class GatewayBook(Protocol):
    """The book behind one or more of our gateways."""

    @property
    def gateways(self) -> tuple[str, ...]:
        """Names of the gateways whose payments are in it."""

    async def moves(self) -> dict[str, Moves]:
        """Each payment that it took anything of, by our own id; raises `NoBook`."""


class HttpBook:
    """The book of a PG that speaks the gateway simulator's HTTP API (see dev/simulator)."""

    def __init__(self, url: str, gateways: tuple[str, ...], seconds: float = 60) -> None:
        self._url = url
        self._gateways = gateways
        self._seconds = seconds

    @property
    def gateways(self) -> tuple[str, ...]:
        return self._gateways

    async def moves(self) -> dict[str, Moves]:
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpx2.AsyncClient(base_url=self._url, timeout=self._seconds) as http,
            ):
                response = await http.get("/v1/book")
                response.raise_for_status()
                return _moves(response.json()["payments"])
        except (httpx2.HTTPError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise NoBook(f"The PG at {self._url} does not show its book: {error!r}.") from error


def _moves(rows: list[dict[str, Any]]) -> dict[str, Moves]:
    """A payment may have been tried several times, and is one of them."""
    found: defaultdict[str, dict[str, Moved]] = defaultdict(dict)
    for row in rows:
        captured, refunded = int(row["capturedAmount"]), int(row["refundedAmount"])
        if not captured and not refunded:
            continue
        of_payment = found[row["orderId"]]
        before = of_payment.get(row["currency"], Moved())
        both = Moved(before.captured + captured, before.refunded + refunded)
        of_payment[row["currency"]] = both
    return dict(found)
