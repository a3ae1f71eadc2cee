from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from amity.flow.intake import Intake
from amity.flow.outbox import Outbox
from amity.flow.stage import Stage
from amity.flow.timers import Timers
from amity.storage.ports import Entry, LogRecord, Writer
from amity.testing.counting import COUNT_TABLE, CountingScenario, CountStage, TotalStage
from amity.testing.simulator import Diverged, load_scenario, main, run


class OrderDependent(CountStage):
    """Keeps only the newest hit it has seen."""

    def save(self, writer: Writer, state: Any) -> None:
        for count in state.values():
            count.hits = dict(list(count.hits.items())[-1:])
        super().save(writer, state)


class OrderDependentScenario(CountingScenario):
    name = "order_dependent"

    def stages(self) -> Sequence[Stage[Any, Any]]:
        return [OrderDependent(), TotalStage()]


def diverges(scenario: type[CountingScenario], seeds: int = 30) -> tuple[int, str]:
    """The first seed that diverges, and what it says."""
    for seed in range(seeds):
        try:
            run(seed, scenario())
        except Diverged as error:
            return seed, error.message
    return -1, ""


def test_a_stage_that_depends_on_order_is_found() -> None:
    """A seed that diverges says which table, and how to replay it; it diverges again."""
    seed, message = diverges(OrderDependentScenario)
    assert f"--seed {seed}" in message
    assert COUNT_TABLE in message
    with pytest.raises(Diverged) as again:
        run(seed, OrderDependentScenario())
    assert again.value.message == message


def test_a_reader_that_drops_no_repetition_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: records published twice are handled twice."""

    def all_of_them(
        self: Intake, records: Sequence[LogRecord], without: str = ""
    ) -> list[LogRecord]:
        return list(records)

    monkeypatch.setattr(Intake, "fresh", all_of_them)
    assert diverges(CountingScenario) != (-1, "")


def test_an_outbox_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what was committed and not yet published is lost with the process."""

    def nothing(self: Outbox, reader: object) -> list[tuple[bytes, list[Entry]]]:
        return []

    monkeypatch.setattr(Outbox, "_load", nothing)
    assert diverges(CountingScenario) != (-1, "")


def test_timers_that_are_not_kept_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a timer is lost when its transaction ends."""
    monkeypatch.setattr(Timers, "_flush_scope", lambda *_: None)
    assert diverges(CountingScenario) != (-1, "")


def test_the_command_replays(capsys: pytest.CaptureFixture[str]) -> None:
    """One seed tells what it did; a diverging scenario ends non-zero and prints its seed."""
    assert main(["--seed", "3"]) == 0
    assert "seed 3:" in capsys.readouterr().out

    path = f"{__name__}:OrderDependentScenario"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amity.testing.simulator.load_scenario", lambda _: OrderDependentScenario())
        assert main(["--scenario", path, "--seeds", "6"]) == 1
    assert "replay: python -m amity.testing.simulator" in capsys.readouterr().err
    assert load_scenario("amity.testing.counting:CountingScenario").name == "counting"
