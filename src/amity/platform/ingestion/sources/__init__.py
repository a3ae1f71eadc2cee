"""One file per kind of source that fetches data; the registry lists them."""

from __future__ import annotations

from amity.kernel.registry import Registry
from amity.platform.ingestion.source import Source
from amity.platform.ingestion.sources import campaign_logs

SOURCES: Registry[Source] = Registry("amity.sources", (campaign_logs.SPEC,))
