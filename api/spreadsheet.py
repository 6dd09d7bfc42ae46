"""Cells of CSV, which people open in spreadsheets: what others wrote is no formula there."""

import re

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""With what a cell begins that a spreadsheet would compute; the last ones are fullwidth."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def cell(value: object) -> object:
    """An apostrophe in front has a spreadsheet take a text as it is. Numbers are what they are."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value) or not value.startswith(_FORMULA):
        return value
    return f"'{value}"
