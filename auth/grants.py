"""How somebody comes to tokens, in whichever words they ask: the rules are here, once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from api.address import UNKNOWN, counted_as
from auth.context import Context
from auth.devices import Waiting
from auth.signing import access_token
from domain.access import Source
from domain.errors import InvalidRequest, LoginFailed, SessionEnded, TooManyLogins
from domain.user import User, is_locking
from service import session, user
from service.session import Grant, Over

_FAILED = "The name or the password is wrong, or nobody is let in with it now."


@dataclass(frozen=True)
class Tokens:
    """What was granted; `session_seconds`: how much longer it can be refreshed."""

    access_token: str
    seconds: int
    refresh_token: str
    session_seconds: int


async def with_password(
    context: Context, name: str, password: str, client_id: str, source: Source
) -> Tokens:
    """Raises what `proven` does."""
    _require_client(context, client_id)
    known = await proven(context, name, password, source)
    return await _tokens(context, await session.start(context.realm, known, client_id, source))


async def proven(context: Context, name: str, password: str, source: Source) -> User:
    """Who somebody is. Raises `LoginFailed`, in the same words and after the same work whatever is
    wrong, `TooManyLogins`, and `Overloaded`."""
    # First what may be down or full: that is no failure of whoever asks.
    known = await user.named(context.realm, name)
    context.passwords.require_room()
    attempt = await context.attempts.count(name, counted_as(source.ip or UNKNOWN))
    if attempt.address_locked:
        seconds = ceil(attempt.address_locked.total_seconds())
        raise TooManyLogins(f"Try again in {seconds} s.", seconds)
    may_enter = known is not None and known.is_active and not attempt.account_locked
    kept = known.password_hash if known is not None and may_enter else None
    good, better = await context.passwords.matches(password, kept)
    if known is None or not good:
        await session.failed(context.realm, known, source, is_locking(attempt.failures))
        raise LoginFailed(_FAILED)
    await context.attempts.succeed(attempt)
    return known if better is None else await user.rehashed(context.realm, known, better)


async def with_device(
    context: Context, device_code: str, client_id: str, source: Source
) -> Tokens | Waiting:
    """Once somebody has agreed; raises `SessionEnded` where nobody can any more."""
    _require_client(context, client_id)
    found = await context.devices.ask(device_code, client_id)
    if isinstance(found, Waiting):
        return found
    known = None if found is None else await user.known(context.realm, found)
    if known is None:
        raise SessionEnded("Begin again: nobody has agreed in time.")
    return await _tokens(context, await session.start(context.realm, known, client_id, source))


async def with_refresh_token(
    context: Context, token: str, client_id: str, source: Source
) -> Tokens:
    """Raises `SessionEnded`."""
    _require_client(context, client_id)
    granted = await session.refresh(context.realm, token, client_id, source)
    if isinstance(granted, Over):
        # Also where that is long so: Redis may have been away when it ended.
        await _tell(context, granted.session_id)
        raise SessionEnded("Log in again.")
    return await _tokens(context, granted)


async def end(context: Context, token: str, source: Source) -> None:
    """Log out, or nothing if that has happened."""
    await _tell(context, await session.end(context.realm, token, source))


async def _tell(context: Context, ended: str | None) -> None:
    """Its access tokens change nothing any more."""
    if ended is not None:
        await context.ended.add([ended])


def _require_client(context: Context, client_id: str) -> None:
    if client_id not in context.clients:
        raise InvalidRequest("clientId: is none that people may log in with (AUTH_CLIENTS).")


async def _tokens(context: Context, grant: Grant) -> Tokens:
    signed = await access_token(context.realm, context.terms, grant)
    left = grant.ends_at - datetime.now(UTC)
    return Tokens(
        signed, context.terms.seconds, grant.refresh_token, max(0, int(left.total_seconds()))
    )
