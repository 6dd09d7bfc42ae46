"""The API as operators' commands call it: as whom, which way, and what its refusals come to.

A command has one way of working. It sends requests and shows documents; `--direct` only changes
where the application is that answers them: inside the command's own process, for the day when the
API or the issuer of tokens is what is broken.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import orjson
from rich.console import Console

from api.fields import OS_USER, Document
from cli import tokens
from cli.refused import Refused
from cli.settings import ClientSettings, os_user
from cli.way import WAY
from runtime.version import VERSION

ANSWER_SECONDS = 600
"""How long one answer may take: that of a large invoice that is computed again, most of all."""
SIGN_SECONDS = 2.0
"""Who waits longer hears that it goes on."""
BUSY_SECONDS = 30.0
"""How long a command does as it is told when too much is asked for at once."""
DECISION_SECONDS = 30.0
"""How long a worker may take to take a decision."""
RESTART_SECONDS = 120.0
"""How long a command that only looks on waits for an API that is gone."""
GONE = frozenset({502, 503, 504})
"""What a proxy says while nobody is behind it."""
WHO = "User-Agent"

Model = TypeVar("Model", bound=Document)
Result = TypeVar("Result")
Query = Mapping[str, str | int | None]

_signs = Console(stderr=True)


class Rejection(Refused):
    """The API said no; `slug` is its name for why."""

    def __init__(self, words: str, slug: str = "") -> None:
        super().__init__(words)
        self.slug = slug


class Missing(Rejection):
    """There is no such thing."""


class Unanswered(Refused):
    """Nobody was there, or went away before the answer."""


@dataclass(frozen=True)
class Answer:
    """What the API said; `text` is as it said it, `location` where it says to go on."""

    status: int
    text: str
    location: str | None = None

    def read(self, model: type[Model]) -> Model:
        """The document in it. What a newer API says besides is passed over."""
        return model.model_validate_json(self.text, extra="ignore")

    def read_all(self, model: type[Model]) -> list[Model]:
        """The documents in it, where it is a list."""
        return [model.model_validate(each, extra="ignore") for each in orjson.loads(self.text)]


class Api:
    """What a command may ask for. Every call raises `Refused` for a refusal, in one sentence;
    `Missing` where there is no such thing."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: str | int | None) -> Answer:
        """A document as it stands; a query parameter that is None is left out."""
        return await self._asked("GET", path, query)

    async def watched(self, path: str, again: str, **query: str | int | None) -> Answer:
        """As `get`, of what goes on whether somebody looks or not: an API that is gone is waited
        for. `again`: what to do where it does not come back, in words."""
        ends_at = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                answer = await self._sent("GET", path, query)
            except Unanswered as gone:
                why = str(gone)
            else:
                if answer.status_code not in GONE:
                    return _read(answer)
                why = _detail(answer)
            if time.monotonic() >= ends_at:
                raise Refused(f"{why} What was begun goes on all the same: {again}")
            _signs.print("The API is gone: waiting for it to come back ...", style="dim")
            await asyncio.sleep(1)

    async def file(self, path: str, **query: str | int | None) -> AsyncIterator[str]:
        """What is no document, as it comes. Raises `Refused` where it breaks off, too."""
        with self._reached():
            async with self._http.stream("GET", path, params=_given(query)) as answer:
                if not answer.is_success:
                    await answer.aread()
                    _read(answer)
                async for text in answer.aiter_text():
                    yield text

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, **query: str | int | None
    ) -> Answer:
        """What is harmless to repeat without a key."""
        return await self._asked("POST", path, query, body)

    async def delete(self, path: str, **query: str | int | None) -> None:
        """What is gone, or was gone before."""
        await self._asked("DELETE", path, query)

    async def decided(self, path: str, body: Mapping[str, Any]) -> Answer:
        """What a decision came to. Raises `Refused` where nobody took it yet."""
        answer = await self.wish(path, body)
        if answer.status == 202:
            raise Refused(
                f"No worker took the decision within {DECISION_SECONDS:g} s: see that one runs, "
                "then repeat the same command."
            )
        return answer

    async def wish(self, path: str, body: Mapping[str, Any], *more: str) -> Answer:
        """What is wanted once: the same words, sent twice, are one wish, and so are the repeats
        that wait until the answer is final. Status 202 when it is not by then."""
        words = (path, orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode(), *more)
        key = hashlib.sha256("\n".join(words).encode()).hexdigest()
        ends_at = time.monotonic() + DECISION_SECONDS
        while True:
            answer = await self._sent("POST", path, {}, body, key)
            under_way = answer.status_code == 202 or _slug(answer) == "request-in-progress"
            if not under_way:
                return _read(answer)
            if time.monotonic() > ends_at:
                return Answer(202, answer.text)
            await asyncio.sleep(_pause(answer) or 1)

    async def _asked(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None = None
    ) -> Answer:
        return _read(await self._sent(method, path, query, body))

    async def _sent(
        self,
        method: str,
        path: str,
        query: Query,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> httpx2.Response:
        """Send it, and once more as often as the API says that too much is asked for."""
        ends_at = time.monotonic() + BUSY_SECONDS
        while True:
            answer = await _with_signs(self._once(method, path, query, body, key))
            pause = _pause(answer) if answer.status_code in (429, 503) else None
            if pause is None or time.monotonic() + pause > ends_at:
                return answer
            _signs.print(f"{_detail(answer)} Waiting {pause:g} s ...", style="dim")
            await asyncio.sleep(pause)

    async def _once(
        self,
        method: str,
        path: str,
        query: Query,
        body: Mapping[str, Any] | None,
        key: str | None,
    ) -> httpx2.Response:
        with self._reached():
            return await self._http.request(
                method,
                path,
                params=_given(query),
                json=body,
                headers={} if key is None else {"Idempotency-Key": key},
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Where nobody answers, what to do about it."""
        try:
            yield
        except httpx2.ConnectError as error:
            raise Unanswered(
                f"Nothing answers at {self._http.base_url}: start `make dev` in another terminal, "
                "or say in BILLING_API_URL where the API is. On a machine of the installation "
                "itself `billing --direct` works without one."
            ) from error
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unanswered(
                f"{self._http.base_url} gave no answer ({why}): repeat the same command."
            ) from error


@asynccontextmanager
async def calling() -> AsyncIterator[Api]:
    """The API, for the length of a command: as whoever has logged in, or as the token file says;
    in `dev` as the user of this machine."""
    way = WAY.get()
    if way.direct:
        # Not at the top: the application takes as long to import as a command to be answered.
        from cli.direct import inside

        async with inside(way) as http:
            yield Api(http)
        return
    settings = ClientSettings()
    file = way.token_file or settings.billing_token_file

    async def shown(request: httpx2.Request) -> None:
        """With each request: a token may end before its command does, and is renewed then."""
        token = await tokens.current(settings.billing_api_url, file)
        who = {OS_USER: os_user()} if token is None else {"Authorization": f"Bearer {token}"}
        request.headers.update(who)

    async with httpx2.AsyncClient(
        base_url=settings.billing_api_url,
        headers={WHO: f"billing/{VERSION}"},
        timeout=httpx2.Timeout(ANSWER_SECONDS, connect=10),
        event_hooks={"request": [shown]},
    ) as http:
        yield Api(http)


async def _with_signs(sending: Awaitable[Result]) -> Result:
    """What it comes to; who waits for it hears every two seconds that it goes on."""
    task = asyncio.ensure_future(sending)
    began = time.monotonic()
    try:
        while not (await asyncio.wait({task}, timeout=SIGN_SECONDS))[0]:
            waited = time.monotonic() - began
            _signs.print(f"waiting for the API, {waited:.0f} s ...", style="dim")
        return task.result()
    finally:
        task.cancel()


def _given(query: Query) -> dict[str, str | int] | None:
    return {name: value for name, value in query.items() if value is not None} or None


def _read(answer: httpx2.Response) -> Answer:
    if answer.status_code == 204 or (answer.is_success and _is(answer, "application/json")):
        return Answer(answer.status_code, answer.text, answer.headers.get("location"))
    words = _detail(answer)
    match answer.status_code:
        case 401:
            words = f"{words} Log in with `billing login`."
        case 404:
            raise Missing(words, _slug(answer))
        case 429 | 503 if _pause(answer) is not None:
            words = f"{words} It asks to wait {_pause(answer):g} s."
    raise Rejection(words, _slug(answer))


def _problem(answer: httpx2.Response) -> Mapping[str, Any]:
    if _is(answer, "application/problem+json"):
        found = orjson.loads(answer.content)
        if isinstance(found, dict):
            return found
    return {}


def _is(answer: httpx2.Response, media_type: str) -> bool:
    sent: str = answer.headers.get("content-type", "")
    return sent.partition(";")[0].strip() == media_type


def _slug(answer: httpx2.Response) -> str:
    return str(_problem(answer).get("type", "")).rpartition("/")[2]


def _detail(answer: httpx2.Response) -> str:
    detail = _problem(answer).get("detail")
    if detail is not None:
        return str(detail)
    return f"{answer.url} answers with status {answer.status_code}: it may not be the API."


def _pause(answer: httpx2.Response) -> float | None:
    """How long it asks to wait; a date would be another form of it, which we never send."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
