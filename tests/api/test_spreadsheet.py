"""What others wrote is no formula in a spreadsheet."""

import pytest

from api.spreadsheet import cell


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://a","b")',
        "+1+cmd|'/C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1",
    ],
)
def test_a_text_that_would_be_computed_is_one_to_look_at(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["evt-1", "a=1", "", "-12", "-0.5", "+3", -7, None])
def test_all_else_is_as_it_was(value: object) -> None:
    assert cell(value) == value
