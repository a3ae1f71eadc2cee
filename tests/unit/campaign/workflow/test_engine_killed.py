"""A workflow comes out as the book says, wherever the engine is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from amity.testing.workflow_simulator import SMALL, Moments, World, must
from amity.testing.workflow_world import random_graph


def test_small_graph_by_the_book(tmp_path: Path) -> None:
    """Undisturbed, every count and effect is what the interpreter says, and no file is left."""
    world = World(tmp_path / "world", SMALL, Moments())
    world.run()

    assert must(SMALL) == world.came_out()
    assert not list((tmp_path / "world" / "work").glob("*.db"))


@pytest.mark.thorough
def test_killed_at_some_moments(tmp_path: Path) -> None:
    """Killed in the middle of what a run makes durable, all tables come out the same."""
    moments = Moments()
    undisturbed = World(tmp_path / "undisturbed", SMALL, moments).run()

    assert moments.count > 50
    for moment in range(3, moments.count, 14):
        world = World(tmp_path / f"killed{moment}", SMALL, killed := Moments([moment]))
        assert undisturbed == world.run(), f"killed at moment {moment}"
        assert killed.deaths == 1


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(2))
def test_random_graphs_killed(tmp_path: Path, seed: int) -> None:
    """A graph drawn from a seed is as the book says, and the same when killed five times."""
    rng = random.Random(seed)
    drawn = random_graph(rng, boxes=5)
    quiet = World(tmp_path / "quiet", drawn, moments := Moments())
    undisturbed = quiet.run()

    assert must(drawn) == quiet.came_out()
    deadly = [rng.randrange(moments.count) for _ in range(5)]
    assert undisturbed == World(tmp_path / "killed", drawn, Moments(deadly)).run()
