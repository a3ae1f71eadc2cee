"""What has become of a batch?

Batches are catalog documents (kind ``"batch"``), written by ingestion, read by everyone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

BatchStatus = Literal[
    "loading", "loaded", "staging", "processing", "success", "failed", "failure", "aborted",
    "abandoned", "inactive", "deleted", "queued", "retrying", "stalled", "active", "archived", "retained",
]  # fmt: skip
"""Behaviour: platform-collect.md §4 (status enum)."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of files for one dataset, as the catalog keeps it (times in milliseconds)."""

    id: str
    dataset_id: str
    status: BatchStatus
    input_format: dict[str, Any] = {}
    diagnostics: bool = False
    partial_percent: int = 0
    external_id: str | None = None
    tags: dict[str, Any] = {}
    replay: dict[str, Any] = {}
    metrics: dict[str, int] = {}
    errors: list[dict[str, Any]] = []
    created_ms: int = 0
    updated_ms: int = 0
    started_ms: int = 0
    completed_ms: int = 0
