"""Counting what was sold."""

from hypothesis import given
from hypothesis import strategies as st

from domain.ranking import Sold, sold

ITEM = st.fixed_dictionaries({"sku": st.sampled_from("ABC"), "quantity": st.integers(1, 9)})


def test_a_sku_on_two_lines_of_an_order_is_in_one_order() -> None:
    order = [{"sku": "A", "quantity": 2}, {"sku": "A", "quantity": 3}, {"sku": "B", "quantity": 1}]

    assert sold([order]) == {"A": Sold(1, 5), "B": Sold(1, 1)}


@given(orders=st.lists(st.lists(ITEM, max_size=5), max_size=8))
def test_no_piece_is_lost_and_no_order_counted_twice(orders: list[list[dict[str, object]]]) -> None:
    for sku, counted in sold(orders).items():
        of_sku = [[item for item in order if item["sku"] == sku] for order in orders]
        assert counted.orders == sum(map(bool, of_sku))
        assert counted.quantity == sum(int(str(i["quantity"])) for order in of_sku for i in order)
