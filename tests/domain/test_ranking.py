"""Counting what was sold."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.ranking import MAX_PIECES, Sold, read, sold

ITEM = st.fixed_dictionaries({"sku": st.sampled_from("ABC"), "quantity": st.integers(1, 9)})
ORDER = st.lists(ITEM, max_size=5)


def test_a_sku_on_two_lines_of_an_order_is_in_one_order() -> None:
    items = [{"sku": "A", "quantity": 2}, {"sku": "A", "quantity": 3}, {"sku": "B", "quantity": 1}]

    assert sold([read({"items": items})]) == {"A": Sold(1, 5), "B": Sold(1, 1)}


@given(orders=st.lists(ORDER, max_size=8))
def test_no_piece_is_lost_and_no_order_counted_twice(orders: list[list[dict[str, Any]]]) -> None:
    for sku, counted in sold(read({"items": order}) for order in orders).items():
        of_sku = [[item for item in order if item["sku"] == sku] for order in orders]
        assert counted.orders == sum(map(bool, of_sku))
        assert counted.quantity == sum(item["quantity"] for order in of_sku for item in order)


DOCUMENTS: tuple[object, ...] = (
    None,
    7,
    "items",
    [],
    {},
    {"items": None},
    {"items": {}},
    {"items": "A"},
)
ITEMS: tuple[object, ...] = (None, 1, "A", [], {}, {"sku": "A"}, {"quantity": 1})
QUANTITIES = (0, -1, MAX_PIECES + 1, 2**63, 1.0, float("nan"), "1", True, None, [1])
SKUS = (None, 1, "", "A" * 65, "A\n", "A\0", "\ud800", "A B")


@pytest.mark.parametrize(
    "document",
    [
        *DOCUMENTS,
        *({"items": [item]} for item in ITEMS),
        *({"items": [{"sku": "A", "quantity": quantity}]} for quantity in QUANTITIES),
        *({"items": [{"sku": sku, "quantity": 1}]} for sku in SKUS),
    ],
    ids=repr,
)
def test_what_is_no_completed_order_is_refused(document: object) -> None:
    with pytest.raises(InvalidRequest):
        read(document)
