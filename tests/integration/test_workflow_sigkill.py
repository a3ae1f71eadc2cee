"""A workflow whose process is killed by SIGKILL comes out as if it had not been."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amity.testing.workflow_simulator import Moments, World, must
from amity.testing.workflow_world import random_graph

BOXES = 12


def life(folder: Path, seed: int) -> subprocess.Popen[str]:
    """A process that goes on with the world, once it is alive."""
    module = "amity.testing.workflow_simulator"
    command = [sys.executable, "-m", module, str(folder), str(seed), str(BOXES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "alive\n"
    return process


@pytest.mark.parametrize("seed", [102, 107])
def test_killed_five_times(tmp_path: Path, seed: int) -> None:
    """Five kills at random times: tables, counts and effects are those of an undisturbed run."""
    rng = random.Random(seed)
    drawn = random_graph(random.Random(seed), BOXES)
    began_s = time.monotonic()
    quiet = World(tmp_path / "quiet", drawn, Moments())
    undisturbed = quiet.run()
    took_s = time.monotonic() - began_s
    assert must(drawn) == quiet.came_out()

    for _ in range(5):
        process = life(tmp_path / "killed", seed)
        time.sleep(rng.uniform(0, took_s / 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert undisturbed == World(tmp_path / "killed", drawn, Moments()).run()
