"""What does a benchmark report? A number of ours beside a baseline of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured line. `ratio` is ours against the baseline; `hold` says what it must keep."""

    work: str
    ours: float
    baseline: float
    unit: str
    hold: float
    more_is_better: bool = True
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours divided by the baseline."""
        return self.ours / self.baseline if self.baseline else float("nan")

    @property
    def short(self) -> bool:
        """Whether it falls short of what it must hold."""
        return self.ratio < self.hold if self.more_is_better else self.ratio > self.hold


def medians(
    ours: Callable[[], float], baseline: Callable[[], float], runs: int
) -> tuple[float, float]:
    """Run the two in turn so that a drifting machine drifts for both; the median of each."""
    pairs = [(ours(), baseline()) for _ in range(runs)]
    return statistics.median(one for one, _ in pairs), statistics.median(two for _, two in pairs)


def show(rows: list[Row], console: Console) -> None:
    """Print the table."""
    table = Table("work", "Amity", "baseline", "unit", "ratio", "hold", "", title="make bench")
    for row in rows:
        sign = "≥" if row.more_is_better else "≤"
        verdict = "SHORT" if row.short else "holds"
        table.add_row(
            row.work + (f"\n{row.note}" if row.note else ""),
            f"{row.ours:,.2f}" if row.ours < 100 else f"{row.ours:,.0f}",
            f"{row.baseline:,.2f}" if row.baseline < 100 else f"{row.baseline:,.0f}",
            row.unit,
            f"{row.ratio:.2f}×",
            f"{sign} {row.hold:g}×",
            verdict,
        )
    console.print(table)
