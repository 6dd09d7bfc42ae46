"""Forms, as programs of OAuth 2 and the pages of browsers send them."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import Request

Fields = Mapping[str, str]
MAX_FIELDS = 20
MAX_FIELD = 1_000
"""Characters."""


class Malformed(Exception):
    """What cannot be answered; `error` is a word of RFC 6749, section 5.2, or of RFC 8628."""

    def __init__(self, error: str, words: str) -> None:
        super().__init__(words)
        self.error = error


async def fields_of(request: Request) -> Fields:
    """Each once, as RFC 6749 says; raises `Malformed`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Malformed("invalid_request", "Send a form: application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Malformed("invalid_request", "The body is not a form of a few fields.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("invalid_request", "A field comes twice.")
    return fields


def required(fields: Fields, name: str, longest: int = MAX_FIELD) -> str:
    """Raises `Malformed`."""
    value = fields.get(name, "")
    if not 1 <= len(value) <= longest:
        raise Malformed("invalid_request", f"{name}: has 1 to {longest} characters.")
    return value
