"""Does every hop give out what went into it?

A line says what came in, what went out and what was set aside with a reason. It holds when the
first is the sum of the others; one line that does not hold fails the demo.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One hop's in and out."""

    hop: str
    what: str
    came_in: int
    went_out: int
    set_aside: int = 0
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether in = out + set aside.

        >>> Line(hop="door", what="events", came_in=3, went_out=2, set_aside=1).holds
        True
        """
        return self.came_in == self.went_out + self.set_aside


@dataclass(slots=True)
class Ledger:
    """The lines of one run, in order of the river."""

    lines: list[Line] = field(default_factory=list)

    def add(
        self,
        hop: str,
        what: str,
        came_in: int,
        went_out: int,
        *,
        set_aside: int = 0,
        note: str = "",
    ) -> None:
        """Enter one line."""
        line = Line(
            hop=hop, what=what, came_in=came_in, went_out=went_out, set_aside=set_aside, note=note
        )
        self.lines.append(line)

    @property
    def broken(self) -> list[Line]:
        """The lines that do not add up."""
        return [line for line in self.lines if not line.holds]

    def table(self) -> Table:
        """For the reader."""
        table = Table("hop", "what", title="In and out of each hop")
        for name in ("in", "out", "set aside"):
            table.add_column(name, justify="right")
        table.add_column("adds up")
        table.add_column("note")
        for line in self.lines:
            numbers = (f"{n:,}" for n in (line.came_in, line.went_out, line.set_aside))
            verdict = "yes" if line.holds else "[bold red]NO[/]"
            table.add_row(line.hop, line.what, *numbers, verdict, line.note)
        return table
