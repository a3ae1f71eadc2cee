"""Workflows drawn from seeds come out as the book says, wherever the engine is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from amity.testing.workflow_simulator import SMALL, Moments, World, must
from amity.testing.workflow_world import random_graph


def test_killed_at_every_moment(tmp_path: Path) -> None:
    """Killed before or after any commit, publishing or dropping, all tables come out the same."""
    moments = Moments()
    undisturbed = World(tmp_path / "undisturbed", SMALL, moments).run()

    for moment in range(moments.count):
        world = World(tmp_path / f"killed{moment}", SMALL, killed := Moments([moment]))
        assert undisturbed == world.run(), f"killed at moment {moment}"
        assert killed.deaths == 1


@pytest.mark.parametrize("seed", range(100, 104))
def test_larger_graphs_killed_often(tmp_path: Path, seed: int) -> None:
    """Twelve boxes, schedulers among them, killed at twelve moments, twice each seed."""
    rng = random.Random(seed)
    drawn = random_graph(rng, boxes=12)
    quiet = World(tmp_path / "quiet", drawn, moments := Moments())
    undisturbed = quiet.run()

    assert must(drawn) == quiet.came_out()
    assert quiet.failed() == []
    for life in range(2):
        deadly = [rng.randrange(moments.count) for _ in range(12)]
        assert undisturbed == World(tmp_path / f"killed{life}", drawn, Moments(deadly)).run()
