"""What a benchmark found: figures with their goals, and what was measured for them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from load.meter import Series


@dataclass(frozen=True)
class Figure:
    """A median of several turns, or one measured value, beside its goal."""

    name: str
    value: float
    goal: float | None
    at_most: bool = False
    low: float | None = None
    high: float | None = None
    unit: str = ""

    def words(self) -> tuple[str, str, str]:
        """The value, the goal, and whether it is reached: ok, short, or - where there is none."""
        value = f"{shown(self.value)}{self.unit}"
        if self.goal is None:
            return value, "-", "-"
        reached = self.value <= self.goal if self.at_most else self.value >= self.goal
        goal = f"{'≤' if self.at_most else '≥'} {self.goal:g}{self.unit}"
        return value, goal, "ok" if reached else "short"

    def line(self) -> str:
        """For whoever reads lines by their tabs."""
        return "\t".join((self.name, *self.words()))


@dataclass(frozen=True)
class Measured:
    """What was measured of one subject, medians of its turns: times in milliseconds alone, CPU in
    milliseconds of one operation by process."""

    name: str
    rate: float
    low: float
    high: float
    p50: float | None
    p95: float | None
    cpu: dict[str, float]
    others: float
    """Cores that were busy with what is none of ours."""


@dataclass
class Group:
    """Figures that were measured together, with all that was measured for them."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, *series: Series) -> None:
        """Keep what was measured."""
        self.measured += [_measured(each) for each in series]

    def ratio(
        self,
        name: str,
        ours: Sequence[float],
        floor: Sequence[float],
        goal: float | None,
        *,
        at_most: bool = False,
    ) -> None:
        """Turn by turn: what disturbed both disturbs their ratio less."""
        ratios = [one / other for one, other in zip(ours, floor, strict=True)]
        median = statistics.median(ratios)
        self.figures.append(Figure(name, median, goal, at_most, min(ratios), max(ratios)))


def _measured(series: Series) -> Measured:
    median = statistics.median
    return Measured(
        series.name,
        median(series.rates),
        min(series.rates),
        max(series.rates),
        median(series.alone) if series.alone else None,
        median(series.p95) if series.p95 else None,
        series.cpu_medians(),
        max(series.others),
    )


def shown(value: float) -> str:
    """With the digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
