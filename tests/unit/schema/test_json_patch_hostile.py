"""Patches that would fill the memory."""

from __future__ import annotations

import pytest

from amity.kernel.json_patch import PatchRefused, apply_patch


@pytest.mark.thorough
def test_copying_a_document_into_itself_ends() -> None:
    """Forty doublings of a small text are refused long before they fill the memory."""
    operations = [
        {"op": "copy", "from": "/a", "path": "/b/0"},
        *({"op": "copy", "from": "/b", "path": "/b/-"} for _ in range(40)),
    ]
    with pytest.raises(PatchRefused):
        apply_patch({"a": "x" * 1_000, "b": []}, operations)
