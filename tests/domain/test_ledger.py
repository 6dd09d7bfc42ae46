"""Double entry: what does not sum to zero in every unit cannot even be written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger import Posting, Transaction, available, gateway, held, totals, transfer

ACCOUNTS = st.sampled_from(["sales", available("c-1"), held("c-1"), gateway("simulator")])
UNITS = st.sampled_from(["KRW", "USD", "KWD", "POINT"])
AMOUNTS = st.integers(1, 10**12)
TRANSFERS = st.builds(transfer, ACCOUNTS, ACCOUNTS, UNITS, AMOUNTS)


def flat(transfers: list[tuple[Posting, Posting]]) -> tuple[Posting, ...]:
    return tuple(posting for pair in transfers for posting in pair)


@given(st.lists(TRANSFERS, min_size=1, max_size=8))
def test_any_transfers_together_are_a_transaction(transfers: list[tuple[Posting, Posting]]) -> None:
    written = Transaction("k", "test", flat(transfers))

    assert not any(totals(written.postings).values())


@given(st.lists(TRANSFERS, min_size=1, max_size=8), st.data())
def test_a_lost_leg_is_noticed(
    transfers: list[tuple[Posting, Posting]], data: st.DataObject
) -> None:
    postings = flat(transfers)
    lost = data.draw(st.integers(0, len(postings) - 1))

    with pytest.raises(ValueError, match="do not sum to zero"):
        Transaction("k", "test", postings[:lost] + postings[lost + 1 :])


@given(st.lists(TRANSFERS, min_size=1, max_size=8), st.data())
def test_a_doubled_leg_is_noticed(
    transfers: list[tuple[Posting, Posting]], data: st.DataObject
) -> None:
    postings = flat(transfers)
    doubled = data.draw(st.sampled_from(postings))

    with pytest.raises(ValueError, match="do not sum to zero"):
        Transaction("k", "test", (*postings, doubled))


def test_one_unit_does_not_balance_another() -> None:
    with pytest.raises(ValueError, match="do not sum to zero"):
        Transaction("k", "test", (Posting("a", "KRW", -100), Posting("b", "USD", 100)))


def test_a_transaction_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="needs postings"):
        Transaction("k", "test", ())
    with pytest.raises(ValueError, match="none of them zero"):
        Transaction("k", "test", transfer("a", "b", "KRW", 0))


def test_a_transfer_debits_the_source_and_credits_the_target() -> None:
    source, target = transfer("from", "to", "KRW", 5)

    assert (source.account, source.amount) == ("from", -5)
    assert (target.account, target.amount) == ("to", 5)
