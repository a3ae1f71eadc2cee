"""`make bench`: what the platform can do, each number beside a baseline of the same run.

`scripts/bench ingest rules` measures only these; names are those of the modules.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from report import Row, show
from rich.console import Console

from amity.kernel.clock import RealSystemClock

MEASURES = ("ingest", "river", "rules", "batch", "mails", "recipients")


def main(names: list[str]) -> None:
    """Measure and print; falling short is told, it is no failure."""
    console = Console(width=120)
    system = RealSystemClock()
    rows: list[Row] = []
    for name in names or MEASURES:
        begun = system.monotonic_s()
        with tempfile.TemporaryDirectory(prefix="amity-bench-") as folder:
            rows += import_module(name).measure(Path(folder))
        console.print(f"{name}: measured in {system.monotonic_s() - begun:.0f} s")
    show(rows, console)


if __name__ == "__main__":
    main(sys.argv[1:])
