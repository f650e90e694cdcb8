"""One row per bar: what was measured, what the bar is, and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Bar:
    """A bound on one figure; the figure is the median over the rounds."""

    what: str
    limit: float
    is_upper: bool
    show: Callable[[float], str]
    values: list[float]

    @property
    def figure(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Is the median on the right side of the bound?"""
        return self.figure <= self.limit if self.is_upper else self.figure >= self.limit

    def line(self, subject: str) -> str:
        """The bar as a row of a Markdown table."""
        sign = "<=" if self.is_upper else ">="
        spread = f"{self.show(min(self.values))} – {self.show(max(self.values))}"
        told = "yes" if self.is_met else "**no**"
        return (
            f"| {subject} | {self.what} | {self.show(self.figure)} | {spread} "
            f"| {sign} {self.show(self.limit)} | {told} |"
        )


@dataclass
class Subject:
    """What one file measures: its bars, and the figures of everybody who took part."""

    title: str
    bars: list[Bar] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    """Rows of a Markdown table: who, then one figure or several."""
    heads: tuple[str, ...] = ()

    def at_most(
        self, what: str, limit: float, values: list[float], show: Callable[[float], str]
    ) -> None:
        """Adds a bar that the figure must not exceed."""
        self.bars.append(Bar(what, limit, True, show, values))

    def at_least(
        self, what: str, limit: float, values: list[float], show: Callable[[float], str]
    ) -> None:
        """Adds a bar that the figure must reach."""
        self.bars.append(Bar(what, limit, False, show, values))

    def tell(self, who: str, *figures: str) -> None:
        """Adds a row about one participant."""
        self.figures.append("| " + " | ".join((who, *figures)) + " |")

    def lines(self) -> list[str]:
        """The figures as Markdown, under their heading."""
        if not self.figures:
            return []
        head = "| " + " | ".join((self.title, *self.heads)) + " |"
        return [head, "|---" + "|--:" * len(self.heads) + "|", *self.figures, ""]


HEAD = ["| subject | figure | median | rounds | bar | met |", "|---|---|--:|--:|--:|---|"]


def ratio(value: float) -> str:
    """A ratio, as 1.23x."""
    return f"{value:.2f}x"


def per_second(value: float) -> str:
    """A rate, as 123,456/s."""
    return f"{value:,.0f}/s"


def nanoseconds(value: float) -> str:
    """A short time given in nanoseconds."""
    return f"{value:,.0f} ns"


def microseconds(value: float) -> str:
    """A time given in microseconds."""
    return f"{value:,.1f} us"


def milliseconds(value: float) -> str:
    """A time given in milliseconds."""
    return f"{value:,.2f} ms"


def mebibytes(value: float) -> str:
    """A size given in MiB."""
    return f"{value:,.1f} MiB"


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def divided(above: list[float], below: list[float]) -> list[float]:
    """Round by round: one figure divided by another of the same round."""
    return [a / b for a, b in zip(above, below, strict=True)]
