"""The forms of ids and names, each written once.

`has_form` is how code asks. A form begins with `^` and ends with `$`, which to JSON Schema and to
the readers of our bodies, paths and queries is the end of the text. To Python's `match` it is not:
a line feed may follow.
"""

import re
from typing import TypeGuard

UUID = re.compile(r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")

NAME = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
"""What somebody names: a customer, a SKU, a coupon, a price list, a resource type."""

EVENT_ID = re.compile(r"^[\x21-\x7e]{1,128}$")
"""Visible ASCII: bytes and characters have one order, and no id holds a line feed."""

IDEMPOTENCY_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")

TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
"""W3C Trace Context."""

CURRENCY = re.compile(r"^[A-Z]{3}$")
"""Whether it is one that can be charged says `domain.money`."""


def has_form(value: object, form: re.Pattern[str]) -> TypeGuard[str]:
    """Whether this is text of that form, from its first to its last character."""
    return isinstance(value, str) and form.fullmatch(value) is not None
