"""Whoever asks acts on the database as who they are: nothing of a request runs as the system."""

import ast
from collections.abc import Iterator
from pathlib import Path

from domain.access import SYSTEM, Access, Actor, Scope
from domain.roles import Action, Role

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
OF_THE_SYSTEM = {
    "audit.break_glass": "at the command line, before anything is asked",
    "audit.cut": "of the whole trail, at the command line",
    "audit.seal": "the sealer",
    "gateway._standings": "of no customer; GATEWAY_READ is not theirs",
    "group_commit._work": "usage, which no customer reports",
    "health.ready": "the probes",
    "inventory.in_review": "for operators at the command line",
    "key._noted": "who calls is not known yet",
    "key._remember": "who calls is not known yet",
    "key.page": "of all customers; KEY_READ is not theirs",
    "pricing.versions": "of no customer; PLAN_READ is not theirs",
    "proposal.waiting": "for whoever decides; PROPOSAL_READ is no customer's",
    "receivable.aged": "over all customers; RECEIVABLE_READ is not theirs",
    "settlement._outcome": "of a month that somebody who is no customer settles",
    "settlement.report": "over all customers; SETTLEMENT_READ is not theirs",
    "settlement.require_over": "reads the clock",
    "settlement.standing": "for operators at the command line",
    "status._database": "its version",
    "status._rows": "of no customer; STATUS_READ is not theirs",
    "restore.compare": "a person at the machine, after a restore",
    "usage.take": "usage, which no customer reports",
    "verification._booked": "the verification",
    "verification._open": "the verification",
    "verification.verify": "the verification",
    "webhook.take": "a PG calls, who is nobody's",
}
"""What runs as the system although it may begin with a call from outside, and why."""


OF_OUR_ISSUER = {"session", "signing_key", "user"}
"""They act for nobody who has come in: whoever logs in is not known yet."""


def as_system(path: Path) -> Iterator[str]:
    """The functions that use the system's scope."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            uses = (each for each in ast.walk(node) if isinstance(each, ast.Name))
            if any(each.id == "SYSTEM" for each in uses):
                yield f"{path.stem}.{node.name}"


def test_the_service_acts_for_who_asks() -> None:
    paths = (path for path in SERVICE.glob("*.py") if path.stem not in OF_OUR_ISSUER)
    found = {each for path in paths for each in as_system(path)}

    assert found == OF_THE_SYSTEM.keys()


def test_only_the_database_says_for_whom_a_transaction_acts() -> None:
    """No other place becomes another role, or sets what the policies read."""
    words = ("set_config", "set role", "set local role", "session authorization", "app.customer")
    folders = ("domain", "gateway", "store", "activities", "workflows", "service", "runtime")
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in (*folders, "api", "cli", "auth")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if any(word in path.read_text().lower() for word in words)
    ]
    # The leader sets a time-out of its own session, which no customer has.
    assert found == ["store/database.py", "store/leader.py", "store/tables.py"]


def test_whoever_is_a_customer_only_acts_as_one() -> None:
    mine = Scope(Actor.CUSTOMER, "mine")
    for roles in ({Role.CUSTOMER}, set()):
        assert Access("c", frozenset(roles), "mine").scope == mine
    for role in set(Role) - {Role.CUSTOMER}:
        assert Access("s", frozenset({role}), "").scope == SYSTEM
        both = Access("b", frozenset({role, Role.CUSTOMER}), "mine")
        assert both.scope == SYSTEM
    both = Access("b", frozenset({Role.CUSTOMER, Role.FINANCE}), "mine")
    assert both.to(Action.PAYMENT_CREATE).scope == mine
