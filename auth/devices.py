"""Log-ins that somebody has begun on a device without a browser, and agrees to on another one
(RFC 8628). A few minutes in Redis: what is lost is begun anew."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from redis.exceptions import RedisError

from api import redis_pool
from auth.attempts import CountersDown

SECONDS = 600
"""For so long somebody may agree."""
PAUSE_SECONDS = 5
"""Between two questions of a device."""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""As RFC 8628, section 6.1, has them: no words come of them, and none looks like another."""
CODE_LETTERS = 8
_TOKEN_BYTES = 32

_MAKE = """
redis.call('HSET', KEYS[2], 'client', ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], KEYS[2], 'EX', ARGV[2])
return 1
"""
_ASK = """
local found = redis.call('HMGET', KEYS[1], 'client', 'user')
if not found[1] then return {'', ''} end
if found[2] then
    redis.call('DEL', KEYS[1])
    return {found[1], found[2]}
end
return {found[1], redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) and '' or 'slow'}
"""
_AGREE = """
local device = redis.call('GET', KEYS[1])
if not device or redis.call('EXISTS', device) == 0 then return 0 end
redis.call('HSET', device, 'user', ARGV[1])
redis.call('DEL', KEYS[1])
return 1
"""


@dataclass(frozen=True)
class Device:
    """`device_code` is its own secret; `user_code` is what a person types elsewhere."""

    device_code: str
    user_code: str


@dataclass(frozen=True)
class Waiting:
    """Nobody has agreed yet; `too_soon`: it asks too often."""

    too_soon: bool


class Devices:
    """Of every process."""

    def __init__(self, url: str) -> None:
        self._redis = redis_pool.connect(url)
        self._make = self._redis.register_script(_MAKE)
        self._ask = self._redis.register_script(_ASK)
        self._agree = self._redis.register_script(_AGREE)

    async def made(self, client_id: str) -> Device:
        """Raises `CountersDown`."""
        code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LETTERS))
        device = Device(secrets.token_urlsafe(_TOKEN_BYTES), code)
        keys = [_code(code), _device(device.device_code)]
        await self._run(self._make, keys, [client_id, SECONDS])
        return device

    async def agree(self, user_code: str, user_id: str) -> bool:
        """The device of this code acts for somebody, once; False where there is none."""
        return bool(await self._run(self._agree, [_code(user_code)], [user_id]))

    async def ask(self, device_code: str, client_id: str) -> str | Waiting | None:
        """Whom it acts for, once; None where it was never begun, or too long ago, or by another."""
        keys = [_device(device_code), f"{_device(device_code)}:asked"]
        client, found = await self._run(self._ask, keys, [PAUSE_SECONDS * 900])
        if client.decode() != client_id:
            return None
        text = found.decode()
        return Waiting(text == "slow") if text in ("", "slow") else text

    async def close(self) -> None:
        await self._redis.aclose()

    async def _run(self, script: Any, keys: list[str], arguments: list[object]) -> Any:
        try:
            return await script(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            raise CountersDown(str(error)) from error


def typed(code: str) -> str:
    """A code as somebody types it: in small letters, with a line between."""
    return "".join(letter for letter in code.upper() if letter in LETTERS)


def shown(code: str) -> str:
    """As people read it."""
    half = len(code) // 2
    return f"{code[:half]}-{code[half:]}"


def _device(device_code: str) -> str:
    return f"device:{sha256(device_code.encode()).hexdigest()}"


def _code(user_code: str) -> str:
    return f"device-code:{user_code}"
