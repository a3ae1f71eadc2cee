from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="replay this seed of the simulator alone")
    parser.addoption("--seeds", type=int, default=200, help="simulate seeds 0 to this")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `simulated_seed` runs once a seed."""
    if "simulated_seed" in metafunc.fixturenames:
        one = metafunc.config.getoption("--seed")
        seeds = range(metafunc.config.getoption("--seeds")) if one is None else [one]
        metafunc.parametrize("simulated_seed", seeds)
