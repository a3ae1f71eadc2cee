"""The HTTP side alone: `amity serve` without its worker, which has a core of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from amity.app.folder import DataFolder
from amity.app.garbage import collect_less
from amity.app.http_side import build_http

if __name__ == "__main__":
    side = build_http(DataFolder(Path(sys.argv[1])), clock="", public_url="")
    collect_less()
    uvicorn.run(
        side.application(lambda _: None),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
    )
