"""The rules of the trail: who somebody is, what was changed, and what a seal is of."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from domain.access import Access
from domain.audit import (
    GENESIS,
    Action,
    ActorType,
    AuditEntry,
    Break,
    actor,
    breaks,
    canonical,
    changed,
    is_anchor,
    sealed,
    unlike,
)
from domain.audit_export import ocsf
from domain.event import JSON
from domain.roles import Role

AT = datetime(2026, 5, 1, 9, 30, 0, 123456, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))


def entry(id_: int, xid: int = 700) -> AuditEntry:
    kept = ("USER", "me", None, None, None, None, "ORDER_CREATED", "order", "o-1", "c-1")
    return AuditEntry(id_, xid, AT, *kept, None, {"amount": 5}, None, None)


@pytest.mark.parametrize(
    ("roles", "kind"),
    [
        ({Role.CUSTOMER}, ActorType.USER),
        (set[Role](), ActorType.USER),
        ({Role.SERVICE}, ActorType.SERVICE),
        ({Role.CUSTOMER, Role.SERVICE}, ActorType.SERVICE),
        ({Role.OPERATOR}, ActorType.OPERATOR),
        ({Role.FINANCE}, ActorType.FINANCE),
        ({Role.ADMIN}, ActorType.ADMIN),
        ({Role.SERVICE, Role.ADMIN}, ActorType.ADMIN),
        ({Role.ADMIN, Role.FINANCE}, ActorType.FINANCE),
        (set(Role), ActorType.OPERATOR),
    ],
)
def test_somebody_is_named_by_the_most_that_they_may_do(roles: set[Role], kind: ActorType) -> None:
    assert actor(Access("me", frozenset(roles), "c-1")).type is kind


@pytest.mark.parametrize(
    ("before", "after", "was", "is_"),
    [
        ({}, {"a": 1}, {}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2}, {"b": 3}),
        ({"a": None}, {"a": 0}, {"a": None}, {"a": 0}),
        ({"a": {"b": [1]}}, {"a": {"b": [1]}}, {}, {}),
    ],
)
def test_only_what_differs_is_kept(
    before: Mapping[str, JSON],
    after: Mapping[str, JSON],
    was: Mapping[str, JSON],
    is_: Mapping[str, JSON],
) -> None:
    assert changed(before, after) == (was, is_)


def test_an_entry_has_one_form_in_whatever_zone_and_order_it_is_read() -> None:
    read_elsewhere = replace(entry(1), at=AT.astimezone(SEOUL))
    turned = replace(entry(1), after={"b": 1, "a": 2})

    assert canonical(read_elsewhere) == canonical(entry(1))
    assert canonical(turned) == canonical(replace(entry(1), after={"a": 2, "b": 1}))


@pytest.mark.parametrize("name", [each.name for each in fields(AuditEntry)])
def test_a_seal_is_of_every_field(name: str) -> None:
    other = {"id": 2, "xid": 701, "at": AT + timedelta(microseconds=1), "viewed_from": AT}
    value: Any = other.get(name, {"x": 1} if name in ("before", "after") else "another")

    tampered = replace(entry(1), **{name: value})

    assert sealed(GENESIS, [tampered]).hash != sealed(GENESIS, [entry(1)]).hash


def test_two_entries_cannot_be_read_as_one() -> None:
    """Their lengths are part of it."""
    both = [entry(1), entry(2)]
    first = sealed(GENESIS, [entry(1)])

    assert sealed(GENESIS, both).hash != sealed(first, [entry(2)]).hash


def test_a_break_is_told_once_and_what_follows_is_looked_at_from_there() -> None:
    entries = [entry(1, 700), entry(2, 701), entry(3, 702)]
    seals = [GENESIS]
    for each in entries:
        seals.append(sealed(seals[-1], [each]))
    tampered = [entries[0], replace(entries[1], reason="another"), entries[2]]

    assert list(breaks(GENESIS, seals[1:], entries)) == []
    assert [each.n for each in breaks(GENESIS, seals[1:], tampered)] == [2]
    missing = [each.wrong for each in breaks(GENESIS, [seals[1], seals[3]], entries)]
    assert missing == ["The seal 2 is missing."]
    gone = [each.wrong for each in breaks(GENESIS, seals[1:], entries[:2])]
    assert gone == ["Its entries are missing."]


def test_an_anchor_names_one_seal() -> None:
    seal = sealed(GENESIS, [entry(1)])

    assert is_anchor(seal.anchor)
    assert unlike(seal.anchor, seal) is None
    assert unlike(seal.anchor, None) == Break(1, "It was anchored, and is missing.")
    another = sealed(GENESIS, [entry(2)])
    assert unlike(seal.anchor, another) == Break(1, "It is not the one that was anchored.")


@pytest.mark.parametrize("text", ["", "1", "1:", "1:zz", f"x:{'0' * 64}", f"1:{'0' * 64}\n"])
def test_what_is_no_anchor_is_known(text: str) -> None:
    assert not is_anchor(text)


@pytest.mark.parametrize("action", [*Action, "GIVEN_UP_SINCE"])
def test_every_action_is_an_activity_of_the_schema(action: str) -> None:
    """Its class, and the number that says which of its activities."""
    told = ocsf(replace(entry(1), action=action), "1.0")

    assert told["activity_id"] in ({1, 2, 3, 4} if action in set(Action) else {99})
    assert told["type_uid"] == 600300 + told["activity_id"]
    assert told["actor"]["user"] == {"uid": "me", "type_id": 1}
    assert told["unmapped"]["customerId"] == "c-1"
    assert told["time"] == 1_777_627_800_123
