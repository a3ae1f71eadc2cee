"""Which real servers can be had here?"""

from __future__ import annotations

from amity.testing.azurite import azurite_available

# Without Node.js, as `scripts/azurite` says, a local folder stands for the blob service: the same
# suite holds it to the port in tests/unit/transports.
collect_ignore = [] if azurite_available() else ["test_azurite_store.py"]
