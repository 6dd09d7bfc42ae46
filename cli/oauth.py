"""OAuth 2.0 as a command speaks it to an issuer: discovery, the device flow (RFC 8628), a password
where the issuer offers that, and what renews (RFC 6749, section 6) and takes back (RFC 7009) a
token. A public client: it has no secret that it could keep."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.refused import Refused
from runtime.issuer import is_private

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
WELL_KNOWN = "/.well-known/"
DOCUMENTS = ("openid-configuration", "oauth-authorization-server")
SLOWER_SECONDS = 5.0
"""By how much more to wait each time the issuer says that it is asked too often."""
MAX_BYTES = 256 * 1024


class _Said(BaseModel):
    """What an issuer says; whatever else it says besides means nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Said = TypeVar("Said", bound=_Said)


class Issuer(_Said):
    """Where an issuer is asked for what, as its own document says."""

    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    grant_types_supported: tuple[str, ...] = ("authorization_code", "implicit")


class Device(_Said):
    """What a person types at which page, and how often to ask whether they have."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None
    expires_in: float
    interval: float = 5.0


class Granted(_Said):
    """What was granted. Without `expires_in` nobody knows how long for."""

    access_token: str = Field(repr=False)
    refresh_token: str | None = Field(None, repr=False)
    expires_in: float | None = None


class Denied(Refused):
    """The issuer said no; `code` is its word for it."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


async def discovered(http: httpx2.AsyncClient, url: str) -> Issuer:
    """What the issuer at this address says of itself; raises `Refused`."""
    if not is_private(url):
        raise Refused(f"{url} should be https: what is said to it is secret.")
    for name in DOCUMENTS:
        answer = await _sent(http, "GET", _document(url, name))
        if answer.status_code == 404:
            continue
        found = _read(Issuer, answer, url)
        # Otherwise a page of one issuer could send people to another one.
        if found.issuer.rstrip("/") != url.rstrip("/"):
            raise Refused(f"{url} says that it is {found.issuer}: name that one if you trust it.")
        for endpoint in (
            found.token_endpoint,
            found.device_authorization_endpoint,
            found.revocation_endpoint,
        ):
            if endpoint is not None and not is_private(endpoint):
                raise Refused(f"{url} names {endpoint}, which should be https.")
        return found
    raise Refused(f"{url} is no issuer: it has no document about itself.")


def _document(url: str, name: str) -> str:
    """OpenID Connect appends the path, RFC 8414 puts it in front of the issuer's own."""
    if name == DOCUMENTS[0]:
        return f"{url.rstrip('/')}{WELL_KNOWN}{name}"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{name}{parts.path.rstrip('/')}"


async def by_device(
    http: httpx2.AsyncClient,
    issuer: Issuer,
    client: Mapping[str, str],
    tell: Callable[[Device], None],
    waiting: Callable[[float], None],
) -> Granted:
    """What is granted once a person has agreed in a browser, on whatever device. `tell` says where;
    `waiting` hears how many seconds are left."""
    assert issuer.device_authorization_endpoint is not None
    answer = await _sent(http, "POST", issuer.device_authorization_endpoint, client)
    device = _read(Device, answer, issuer.issuer)
    tell(device)
    ends_at = time.monotonic() + device.expires_in
    pause = device.interval
    asks_at = time.monotonic() + pause
    wanted = {"grant_type": DEVICE, "device_code": device.device_code, **client}
    while (now := time.monotonic()) < ends_at:
        waiting(ends_at - now)
        if now < asks_at:
            await asyncio.sleep(min(asks_at - now, 1.0))
            continue
        try:
            return await granted(http, issuer.token_endpoint, wanted)
        except Denied as denied:
            if denied.code == "slow_down":
                pause += SLOWER_SECONDS
            elif denied.code != "authorization_pending":
                raise
        asks_at = time.monotonic() + pause
    raise Refused("Nobody has agreed in time: run `billing login` again.")


async def granted(
    http: httpx2.AsyncClient, token_endpoint: str, wanted: Mapping[str, str]
) -> Granted:
    """What the issuer grants for this; raises `Denied`."""
    answer = await _sent(http, "POST", token_endpoint, wanted)
    return _read(Granted, answer, token_endpoint)


async def taken_back(
    http: httpx2.AsyncClient, revocation_endpoint: str, client_id: str, token: str
) -> None:
    """The issuer forgets the token, and those that came with it; raises `Refused`."""
    wanted = {"token": token, "client_id": client_id}
    answer = await _sent(http, "POST", revocation_endpoint, wanted)
    if not answer.is_success:
        raise _denied(answer, revocation_endpoint)


async def _sent(
    http: httpx2.AsyncClient, method: str, url: str, form: Mapping[str, str] | None = None
) -> httpx2.Response:
    try:
        return await http.request(method, url, data=form, headers={"Accept": "application/json"})
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = str(error) or type(error).__name__
        raise Refused(f"The issuer at {url} does not answer ({why}): try again later.") from error


def _read(kind: type[Said], answer: httpx2.Response, url: str) -> Said:
    if not answer.is_success:
        raise _denied(answer, url)
    try:
        if len(answer.content) > MAX_BYTES:
            raise ValueError("too long")
        return kind.model_validate_json(answer.content)
    except (ValidationError, ValueError) as error:
        raise Refused(f"What {url} answers is not what an issuer says.") from error


def _denied(answer: httpx2.Response, url: str) -> Denied:
    """What RFC 6749, section 5.2, has for it, else the status."""
    try:
        said = orjson.loads(answer.content)
        code, words = str(said["error"]), said.get("error_description")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        code, words = "", None
    why = f"{words or code}".rstrip(".") or f"status {answer.status_code}"
    return Denied(code, f"The issuer at {url} refuses: {why}.")
