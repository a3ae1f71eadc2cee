"""How often does the garbage collector look?

Records are trees that die young and hold no cycles; walking everything that lives at every 700
allocations was measured at 5 to 20 % of the stages' time and at a sixth of the doors'.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000


def collect_less() -> None:
    """Set what lives now aside for good, and look at new objects less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
