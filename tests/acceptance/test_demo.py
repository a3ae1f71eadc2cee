"""The demo, in the small form, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_demo_adds_up(tmp_path: Path) -> None:
    """`amity demo --households 150` ends with status 0, every row adding up."""
    command = [sys.executable, "-m", "amity.app.cli", "demo", "--households", "150"]

    done = subprocess.run(
        [*command, "--data", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "every hop adds up" in done.stdout
