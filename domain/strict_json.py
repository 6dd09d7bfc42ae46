"""JSON, read strictly.

What lenient parsers let pass becomes a fault further down: PostgreSQL stores no NUL, UTF-8 no lone
surrogate, a duplicate key means two different requests to two readers (RFC 8259, section 4).
"""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Never

from domain.errors import InvalidRequest

MAX_DEPTH = 32
_MAX_DIGITS = 20


def parse(body: bytes, fraction: Callable[[str], object]) -> Any:
    """The JSON value of a body; raises `InvalidRequest` with the reason. `fraction` reads a number
    that has a point or an exponent."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=fraction,
            parse_int=_bounded,
        )
    except (RecursionError, ValueError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    _check(value, MAX_DEPTH)
    return value


def exact(digits: str) -> Decimal:
    """A fraction with every digit; raises `ValueError`."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"{digits[:25]} is out of range") from None


def lossless(digits: str) -> float:
    """A fraction as a number whose `repr` is what was sent: a price is read from it, digit by
    digit; raises `ValueError`."""
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:25]} is out of range")
    if exact(digits) != Decimal(repr(number)):
        raise ValueError(f"{digits[:40]} has digits that a number loses: send a string")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _bounded(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"{digits[:25]}… is out of range")
    return int(digits)


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check(item, depth - 1)


def _check_text(value: str) -> None:
    if "\x00" in value:
        raise InvalidRequest("The body holds a NUL character.")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidRequest("The body holds a lone surrogate.")
