"""A figure says whether its goal is reached; a plot is a picture."""

from xml.etree import ElementTree

import pytest

from load.figures import Figure, Group
from load.plot import bars


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure("rate", 0.851, 0.85), "rate\t0.85\t≥ 0.85\tok"),
        (Figure("rate", 0.849, 0.85), "rate\t0.85\t≥ 0.85\tshort"),
        (Figure("delay", 200, 200, at_most=True, unit=" ms"), "delay\t200 ms\t≤ 200 ms\tok"),
        (Figure("delay", 200.4, 200, at_most=True, unit=" ms"), "delay\t200 ms\t≤ 200 ms\tshort"),
        (Figure("cores", 0.0321, None), "cores\t0.0321\t-\t-"),
    ],
)
def test_a_figure_is_a_line_with_its_goal_and_whether_it_is_reached(
    figure: Figure, line: str
) -> None:
    assert figure.line() == line


def test_a_ratio_is_of_the_turns_that_lay_beside_each_other() -> None:
    group = Group("any")

    # In the second turn the machine was slow for both.
    group.ratio("ours / floor", [90, 9, 80], [100, 10, 100], 0.85)

    (figure,) = group.figures
    assert (figure.value, figure.low, figure.high) == (0.9, 0.8, 0.9)


def test_a_plot_has_a_bar_for_every_part() -> None:
    plot = ElementTree.fromstring(bars("a < b", [("x & y", {"one": 1, "two": 2})], mark=1))

    tips = [each.text for each in plot.iter("{http://www.w3.org/2000/svg}title")]
    assert tips[0] == "a < b"
    assert tips[-2:] == ["one: 1.00", "two: 2.00"]
