"""Which lines of an order take from the stock."""

from hypothesis import given
from hypothesis import strategies as st

from domain.inventory import tracked
from domain.order import OrderLine

SKUS = st.sampled_from(["A", "B", "C", "D"])
LINES = st.lists(
    st.builds(OrderLine, sku=SKUS, quantity=st.integers(1, 100), unit_price=st.just(1))
)


@given(lines=LINES, skus=st.sets(SKUS))
def test_pieces_of_tracked_skus_are_added_up_and_sorted(
    lines: list[OrderLine], skus: set[str]
) -> None:
    found = tracked(lines, skus)

    assert [line.sku for line in found] == sorted({line.sku for line in lines} & skus)
    for line in found:
        assert line.quantity == sum(each.quantity for each in lines if each.sku == line.sku)
