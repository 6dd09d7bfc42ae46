"""The building blocks of every request and response model; light, for clients read them too."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from domain.identifier import CURRENCY, NAME, UUID
from domain.money import MAX_MINOR_UNITS


class Document(BaseModel):
    """JSON in camelCase; a field that we do not know is a mistake of the caller, not ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )


class Empty(Document):
    """Nothing more needs to be said."""


Amount = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=MAX_MINOR_UNITS,
        description="Minor units of the currency: 1000 is ₩1,000 or $10.00.",
        examples=[1000],
    ),
]
Currency = Annotated[
    str, Field(pattern=CURRENCY.pattern, description="ISO 4217, capitals.", examples=["KRW"])
]
OS_USER = "X-OS-User"
"""Whose command asks, in `dev`: what a machine that is trusted says of its users."""
CUSTOMER_ID = NAME.pattern
CustomerId = Annotated[str, Field(pattern=CUSTOMER_ID, examples=["acme-corp"])]
PLAN_CODE = NAME.pattern
PlanCode = Annotated[
    str, Field(pattern=PLAN_CODE, description="A pricing plan.", examples=["standard"])
]
Id = Annotated[str, Field(pattern=UUID.pattern, examples=["019a9f3e-7c1c-7d2e-9b1a-0c2f6f1c5e11"])]


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
_PLUS_LOST = re.compile(r"[0-9-]{10}[Tt ][0-9:.]+ [0-9]{2}:?[0-9]{2}")


def _text(value: object) -> object:
    """Numbers are no moments here, in quotes or not: parsers read them as seconds since 1970."""
    if not isinstance(value, str) or not _DATE.fullmatch(value[:11]):
        raise ValueError("a moment is a text like 2026-01-01T00:00:00Z")
    if _PLUS_LOST.fullmatch(value):
        raise ValueError("there is a space where the plus of the offset should be: send + as %2B")
    return value


def _within_bounds(moment: datetime) -> datetime:
    """Beyond these years a conversion to UTC can leave what a datetime holds."""
    if not 1970 <= moment.year <= 9000:
        raise ValueError("the year must be from 1970 to 9000")
    return moment


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_text),
    AfterValidator(_within_bounds),
    Field(examples=["2026-01-01T00:00:00Z"]),
]
"""RFC 3339 with an offset."""
MAX_REASON = 500
Reason = Annotated[
    str,
    Field(pattern=r"\S", max_length=MAX_REASON, examples=["seen in the PG's console"]),
]


_DURATION = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,4})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,5})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,7})S)?)?",
    re.ASCII,
)


def duration(written: object) -> timedelta:
    """ISO 8601, of days and what is shorter; raises `ValueError` for what is none."""
    found = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        raise ValueError("a duration like PT1H, PT15M or P1D")
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


Duration = Annotated[timedelta, BeforeValidator(duration), Field(examples=["PT1H"])]


def rendered(body: BaseModel | dict[str, Any]) -> str:
    """The exact text that is sent, stored and sent again."""
    value = body.model_dump(by_alias=True, mode="json") if isinstance(body, BaseModel) else body
    return orjson.dumps(value).decode()


def utc(moment: datetime) -> datetime:
    """RFC 3339 with offset, always UTC."""
    return moment.astimezone(UTC)
