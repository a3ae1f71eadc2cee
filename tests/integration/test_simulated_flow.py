from __future__ import annotations

from amity.testing.counting import CountingScenario
from amity.testing.river import RiverScenario
from amity.testing.simulator import run


def test_the_flow_survives(simulated_seed: int) -> None:
    """Crashes, repetition, disorder and clock jumps change nothing in the end."""
    assert run(simulated_seed, CountingScenario()).startswith(f"seed {simulated_seed}:")


def test_the_river_survives(simulated_seed: int) -> None:
    """Graph, profiles and audiences are those of the undisturbed run, fused or not."""
    assert run(simulated_seed, RiverScenario()).startswith(f"seed {simulated_seed}:")
