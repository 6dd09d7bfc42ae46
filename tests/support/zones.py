"""Time zones as the package `tzdata` has them, read without our code."""

from importlib.resources import files
from zoneinfo import ZoneInfo

ALL = tuple(files("tzdata").joinpath("zones").read_text().split())
"""Every name, abbreviations too: customers had them."""


def pinned(zone: str) -> ZoneInfo:
    """The clock on the wall of this zone."""
    with files("tzdata.zoneinfo").joinpath(zone).open("rb") as data:
        return ZoneInfo.from_file(data, key=zone)
