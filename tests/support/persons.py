"""Two persons, who decide together what one alone may not."""

from typing import Any
from uuid import uuid4

import httpx2

FIRST, SECOND, THIRD = "person-one", "person-two", "person-three"


async def asks(
    api: httpx2.AsyncClient, who: str, method: str, path: str, body: Any = None, key: str = ""
) -> httpx2.Response:
    """In `dev` the header names the caller: `dev/{who}`."""
    headers = {"X-Customer-Id": who, "Idempotency-Key": key or uuid4().hex}
    return await api.request(method, path, json=body, headers=headers)


async def put(api: httpx2.AsyncClient, path: str, body: Any) -> httpx2.Response:
    """By one person, or by two where it takes two."""
    answer = await asks(api, FIRST, "PUT", path, body)
    return await asks(api, SECOND, "PUT", path, body) if answer.status_code == 409 else answer


async def by_two(
    api: httpx2.AsyncClient, method: str, path: str, body: Any = None
) -> httpx2.Response:
    """One proposes, the other carries out."""
    proposed = await asks(api, FIRST, method, path, body)
    assert proposed.json()["type"].endswith("/second-person-needed"), proposed.text
    return await asks(api, SECOND, method, path, body)
