"""Which transports are there?

A transport is one file in this folder that ends in a `SPEC`, and one line here. `make` takes its
config and `outbound`, the judge of addresses.
"""

from __future__ import annotations

from amity.kernel.registry import Registry
from amity.transports import azure_blob, local, sftp
from amity.transports.ports import Store

TRANSPORTS: Registry[Store] = Registry("amity.transports", (azure_blob.SPEC, local.SPEC, sftp.SPEC))
