"""Which numbers bound the system, and who says so?

One named constant a limit, with its source. Limits of the exchange with the campaign side
lie in `amity.exchange.guardrails`.
"""

from __future__ import annotations

STREAM_REQUEST_BYTES_MAX = 1_048_576
"""A streaming request. Behaviour: platform-collect.md §6, §10."""

EDGE_REQUEST_BYTES_MAX = 65_536
"""A request of an Edge client. Behaviour: platform-collect.md §7."""

EDGE_EVENTS_MAX = 200
"""Events in a request of an Edge client. Ours: empty ones would be many in 64 KB."""

EDGE_UNIT_BYTES = 8_192
"""What a request of an Edge client is counted by. Behaviour: platform-collect.md §7."""

EDGE_INTERACT_UNITS_MAX = 4_000
"""Units a second and data stream at interact. Behaviour: platform-collect.md §7."""

EDGE_COLLECT_UNITS_MAX = 6_000
"""Units a second and data stream at collect. Behaviour: platform-collect.md §7."""

EVENT_BYTES_MAX = 10_240
"""An event in the profile. Behaviour: platform-collect.md §10."""

RECORD_BYTES_MAX = 102_400
"""A record in the profile. Behaviour: platform-collect.md §10."""

BATCH_FILE_BYTES_MAX = 268_435_456
"""One file put in a single request. Behaviour: platform-collect.md §5."""

EVENT_ID_CHARS_MAX = 1_024
"""An event's `_id`; it becomes part of keys. Ours."""

EVENT_FUTURE_MS_MAX = 60_000
"""How far ahead of business time an event may lie: clocks of senders differ. Ours; an event lies in
the past. Behaviour: platform-collect.md §3."""

GRAPH_IDENTITIES_MAX = 50
"""Identities in one graph. Behaviour: platform-audiences.md §1.4."""

RECORD_IDENTITIES_MAX = 20
"""Identities in one record. Behaviour: platform-audiences.md §1.4."""

IDENTITY_VALUE_CHARS_MAX = 1_024
"""One identity value. Behaviour: platform-audiences.md §1.4."""

UNIQUE_NAMESPACES_MAX = 3
"""Unique namespaces in the linking rules. Behaviour: platform-audiences.md §2.1."""

MERGE_POLICIES_MAX = 5
"""Merge policies in a sandbox. Behaviour: platform-audiences.md §3.2."""

JSON_DEPTH_MAX = 64
"""Nesting of a JSON body. Ours: deeper is an attack, not data."""

LIST_START_MAX = 1_000_000_000
"""How far into a list a page may begin. Ours: the engines' numbers end, too."""

BODY_BYTES_MAX = 4_194_304
"""A control-plane request body. Ours."""

STEP_BATCH_RECORDS_MAX = 1_000
"""Records in one transaction of the runner. Source: engines.md B (batches of 100 to 1000)."""

STEP_TRIES_MAX = 3
"""Tries before a record becomes a failed record. Ours."""

LOG_PARTITIONS = 64
"""Partitions of a topic in one log file. Source: ARCHITECTURE §2."""

LAG_RECORDS_MAX = 200_000
"""Unprocessed log records at which the door answers 429. Ours."""

DISK_FREE_BYTES_MIN = 512 * 1024 * 1024
"""Free disk below which the door answers 503. Ours."""
