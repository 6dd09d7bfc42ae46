"""New ids. Not a rule, so not in the domain: chance is involved."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_uuid() -> UUID:
    """A UUIDv7: new ids sort behind old ones."""
    return uuid7()


def new_id() -> str:
    """The same, as ids travel."""
    return str(new_uuid())
