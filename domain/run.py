"""A run: a month settled for every customer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.approval import ApprovalPolicy
from domain.dunning import DunningPolicy
from domain.waits import Waits


@dataclass(frozen=True)
class RunRequest:
    """Input of SettlementRun. `customers`: only these (a replay), else everybody.

    `ask_again`: a child that cannot tell how it ends is looked for in the rows so often.
    `patience`: a customer that is not done by then goes on alone, so that those who are stuck do
    not fill the window.
    `per_execution`: customers that are started before the run continues as a new execution, which
    takes over what stands below it.
    """

    period: str
    customers: tuple[str, ...] | None = None
    concurrency: int = 20
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    waits: Waits = field(default_factory=Waits)
    ask_again: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(minutes=15)
    per_execution: int = 1_000
    after: str | None = None
    total: int | None = None
    began: datetime | None = None
    started: int = 0
    finished: int = 0
    left_behind: int = 0
    under_way: Mapping[str, datetime] = field(default_factory=dict)
    """Since when."""


@dataclass(frozen=True)
class CustomerPage:
    """Which customers of a run: those after one, or the named ones. `began`: when the run did, by
    the clock of the database."""

    period: str
    after: str | None = None
    limit: int = 200
    customers: tuple[str, ...] | None = None
    began: datetime | None = None


@dataclass(frozen=True)
class Begun:
    """A run that has begun: how many customers it has, and since when."""

    customers: int
    at: datetime


@dataclass(frozen=True)
class Progress:
    """Answer of the query `progress`. `left_behind`: those that ran out of the run's patience."""

    total: int
    started: int
    finished: int
    left_behind: int = 0


@dataclass(frozen=True)
class Run:
    """When the settlement of a month for everybody began and ended."""

    period: str
    started_at: datetime
    finished_at: datetime | None
